"""A store that was used before a fork: parent and child must not share a connection, a lock or a thread."""

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager

import pytest
from forks import TIMEOUT, Child, check, use, use_async

import dal

CHILDREN, CALLS = 3, 40


@contextmanager
def opened(server, schema, way):
    with dal.SessionStore.connect(server.conninfo, schema=schema, timeout=TIMEOUT, max_size=4) as store:
        if way == "writer":
            with store.writer() as writer:
                yield writer
        elif way == "pipeline":
            with store.pipeline() as pipeline:
                yield pipeline
        else:
            yield store


@asynccontextmanager
async def opened_async(server, schema, way):
    async with dal.AsyncSessionStore.connect(server.conninfo, schema=schema, timeout=TIMEOUT, max_size=4) as store:
        if way == "writer":
            async with store.writer() as writer:
                yield writer
        elif way == "pipeline":
            async with store.pipeline() as pipeline:
                yield pipeline
        else:
            yield store


@pytest.mark.parametrize("way", ["store", "writer", "pipeline"])
def test_children_of_a_busy_process(server, schema, connection, way):
    with opened(server, schema, way) as store:
        crowd = [use(store, "before", calls=2, seed=0)]
        threads = [
            threading.Thread(target=lambda n=n: crowd.append(use(store, f"parent {n}", calls=CALLS, seed=n)))
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        children = [Child(lambda n=n: use(store, f"child {n}", calls=CALLS, seed=10 + n)) for n in range(CHILDREN)]
        crowd += [child.result() for child in children]
        for thread in threads:
            thread.join(60)
        crowd.append(use(store, "after", calls=2, seed=9))
    assert sum(len(seen.acknowledged) for seen in crowd) == 4 + CALLS * (CHILDREN + 3)
    check(connection, crowd)


@pytest.mark.parametrize("way", ["store", "writer", "pipeline"])
def test_children_of_a_busy_event_loop(server, schema, connection, way):
    async def parent():
        async with opened_async(server, schema, way) as store:
            crowd = [await use_async(store, "before", calls=2, seed=0)]
            tasks = [asyncio.create_task(use_async(store, f"parent {n}", calls=CALLS, seed=n)) for n in range(3)]
            await asyncio.sleep(0.02)
            children = [
                Child(lambda n=n: asyncio.run(use_async(store, f"child {n}", calls=CALLS, seed=10 + n)))
                for n in range(CHILDREN)
            ]
            crowd += await asyncio.gather(*tasks)
            crowd += [child.result() for child in children]
            crowd.append(await use_async(store, "after", calls=2, seed=9))
            return crowd

    crowd = asyncio.run(parent())
    assert sum(len(seen.acknowledged) for seen in crowd) == 4 + CALLS * (CHILDREN + 3)
    check(connection, crowd)
