"""Appends on a Citus cluster, compared with plain tables on its coordinator. Both take turns within one run.

DAL_TEST_CITUS_DSN=… uv run pytest bench/test_distributed.py --postgres=citus
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack

import psycopg
import pytest
from citus_cluster import drop
from ulid import ULID

import dal
from dal import NewMessage

ROUNDS = 25
SESSIONS = 64
LAYOUTS = {"one server": None, "4 shards": 4, "32 shards": 32}


@pytest.fixture
def schemas(server):
    """Yield a schema for each layout."""
    if server.kind != "citus":
        pytest.skip("needs --postgres=citus")
    names = {layout: f"bench_{ULID()}".lower() for layout in LAYOUTS}
    try:
        for layout, shards in LAYOUTS.items():
            with dal.SessionStore.connect(server.conninfo, schema=names[layout], timeout=60) as store:
                store.apply_schema(distributed=shards is not None, shards=shards or 1)
        yield names
    finally:
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            for name in names.values():
                drop(connection, name)


def message(size=200):
    return NewMessage(role="user", content="x" * size)


async def append(store, _writer):
    await store.session("s0").append("user", "x" * 200)


async def append_all_to_one(store, _writer):
    await store.session("s0").append_all([message()] * 10)


async def append_many_to_one(store, _writer):
    await store.session("s0").append_all([message(1000)] * 1000)


async def append_all_to_each(store, _writer):
    await store.append_all([(store.session(f"s{n}"), message()) for n in range(SESSIONS)])


async def append_through_writer(_store, writer):
    await asyncio.gather(*[writer.session(f"s{n}").append("user", "x" * 200) for n in range(SESSIONS)])


async def latest(store, _writer):
    await store.session("s0").latest(20)


CALLS = {
    "append": append,
    "latest(20)": latest,
    "append_all, 10 messages to one session": append_all_to_one,
    "append_all, 1,000 messages of 1 kB to one session": append_many_to_one,
    f"append_all, one message to each of {SESSIONS} sessions": append_all_to_each,
    f"{SESSIONS} appends at once through a writer, to as many sessions": append_through_writer,
}


def test_appends_take_a_bounded_multiple_of_their_time_on_one_server(server, schemas, figure):
    durations = asyncio.run(measure(server.conninfo, schemas))
    for call, by_layout in durations.items():
        least, median = by_layout["one server"]
        figure(call, f"{median:.1f} ms (the fastest {least:.1f}) on one server")
        for layout in list(LAYOUTS)[1:]:
            figure(
                f"{call}, {layout}",
                f"{by_layout[layout][1]:.1f} ms (the fastest {by_layout[layout][0]:.1f}), "
                f"{by_layout[layout][1] / median:.1f} times (the fastest {by_layout[layout][0] / least:.1f} times)",
            )
        assert by_layout["4 shards"][0] / least < 15, call


async def measure(conninfo, schemas):
    """Return the least and the median milliseconds of each call with each layout."""
    async with AsyncExitStack() as stack:
        stores = {}
        for layout, schema in schemas.items():
            made = dal.AsyncSessionStore.connect(conninfo, schema=schema, timeout=60, min_size=4)
            store = await stack.enter_async_context(made)
            await store.check_schema()
            stores[layout] = store, await stack.enter_async_context(store.writer())
        durations = {call: {layout: [] for layout in stores} for call in CALLS}
        for round_ in range(ROUNDS + 5):
            for call, run in CALLS.items():
                for layout, (store, writer) in stores.items():
                    began = time.perf_counter()
                    await run(store, writer)
                    if round_ >= 5:  # Until then, statements are not prepared.
                        durations[call][layout].append((time.perf_counter() - began) * 1000)
    return {
        call: {layout: (min(each), statistics.median(each)) for layout, each in by_layout.items()}
        for call, by_layout in durations.items()
    }
