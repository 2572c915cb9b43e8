"""A store's process is forked while it appends, and its event loop ends and another one goes on."""

import asyncio
import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from forks import Child

import dal
from faults.focus import Focus

TIMEOUT = 5.0
LOOPS = "an event loop ends in the middle of appends"
FORKED = "a fork in the middle of appends"
KILLED = "SIGKILL of a forked child while it appends"


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 600)


def settings(crew):
    return crew.settings("focus") | {"timeout": TIMEOUT}


@contextmanager
def writing(focus, store):
    """Two threads that append all the while."""
    ends = threading.Event()

    def write():
        while not ends.is_set():
            focus.do(store, focus.call(session=threading.get_ident() % 3))

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def append(focus, store, name, calls):
    """What a child does with the store that it inherits; return how late it was."""
    for call in focus.calls_of(name, calls):
        focus.once(store, call)
    return focus.late


async def append_async(focus, store, name, calls):
    for call in focus.calls_of(name, calls):
        await focus.once_async(store, call)
    return focus.late


@pytest.mark.parametrize("way", ["store", "writer"])
def test_forks(crew, scale, way):
    with ExitStack() as ends:
        focus = ends.enter_context(Focus(crew, FORKED, timeout=TIMEOUT))
        store = ends.enter_context(dal.SessionStore.connect(**settings(crew)))
        if way == "writer":
            store = ends.enter_context(store.writer())
        ends.enter_context(writing(focus, store))
        for n in range(scale(2, 20)):
            children = [Child(lambda name=f"{n}.{m}": append(focus, store, name, 20)) for m in range(2)]
            focus.injected += len(children)
            focus.late = max(focus.late, *(child.result() for child in children))


@pytest.mark.parametrize("way", ["store", "writer"])
def test_forks_in_an_event_loop(crew, scale, way):
    async def run(focus):
        ended = False

        async def write(store, session):
            while not ended:
                await focus.once_async(store, focus.call(session=session))

        async with dal.AsyncSessionStore.connect(**settings(crew)) as parent:
            store = parent.writer() if way == "writer" else parent
            writers = [asyncio.create_task(write(store, n)) for n in range(4)]
            for n in range(scale(2, 20)):
                await asyncio.sleep(0.02)
                child = Child(lambda name=f"{n}": asyncio.run(append_async(focus, store, name, 20)))
                focus.injected += 1
                focus.late = max(focus.late, await asyncio.to_thread(child.result))
            ended = True
            await asyncio.gather(*writers)
            if store is not parent:
                await store.close()

    with Focus(crew, FORKED, timeout=TIMEOUT) as focus:
        asyncio.run(run(focus))


@pytest.mark.parametrize("way", ["store", "writer"])
def test_children_are_killed(crew, scale, way):
    with ExitStack() as ends:
        focus = ends.enter_context(Focus(crew, KILLED, timeout=TIMEOUT))
        store = ends.enter_context(dal.SessionStore.connect(**settings(crew)))
        if way == "writer":
            store = ends.enter_context(store.writer())
        ends.enter_context(writing(focus, store))
        for n in range(scale(2, 20)):
            child = Child(lambda name=f"{n}": append(focus, store, name, 100_000))
            time.sleep(0.1)
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(AssertionError, match="told nothing"):
                child.result()
            focus.injected += 1


@pytest.mark.parametrize("way", ["store", "writer"])
def test_loops(crew, scale, way):
    """Every second one has lost all its connections besides."""
    with Focus(crew, LOOPS, timeout=TIMEOUT) as focus:
        parent = dal.AsyncSessionStore.connect(**settings(crew))
        store = parent.writer() if way == "writer" else parent

        async def live(n):
            await asyncio.gather(*(focus.once_async(store, focus.call(session=m % 3)) for m in range(6)))
            left = [asyncio.create_task(focus.once_async(store, focus.call(session=m % 3))) for m in range(6)]
            await asyncio.wait(left, timeout=0.001 * (n % 5))  # The rest is cancelled by the loop's end.

        async def close():
            await store.close()
            await parent.close()

        for n in range(scale(4, 45)):
            asyncio.run(live(n))
            focus.injected += 1
            if n % 2:
                with crew.harness() as connection:
                    connection.execute(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'focus'"
                    )
        asyncio.run(close())


@pytest.mark.parametrize("way", ["store", "writer"])
def test_loops_in_threads(crew, scale, way):
    with Focus(crew, "several event loops at once", timeout=TIMEOUT) as focus:
        parent = dal.AsyncSessionStore.connect(**settings(crew))
        store = parent.writer() if way == "writer" else parent

        async def live():
            for turn in range(scale(5, 50)):
                await asyncio.gather(*(focus.once_async(store, focus.call(session=(m + turn) % 3)) for m in range(4)))

        async def close():
            await store.close()
            await parent.close()

        threads = [threading.Thread(target=lambda: asyncio.run(live())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        focus.injected += len(threads)
        asyncio.run(close())
