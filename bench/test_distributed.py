"""Appends on a Citus cluster, beside plain tables on its coordinator; and the move of a live server to a cluster.

DAL_TEST_CITUS_DSN=… uv run pytest bench/test_distributed.py --postgres=citus  # --large moves a million messages
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack
from itertools import cycle

import psycopg
import pytest
from citus_cluster import drop
from large import fill, sessions_of
from ulid import ULID

import dal
from dal import NewMessage
from dal.ids import new_id

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


SIZE, LARGE = 10_000, 1_000_000
CHECKSUM = """
SELECT count(*), sum(hashtext(concat_ws('|', m.session_id, m.sequence, m.message_id, m.role, m.agent_id, m.content,
    m.metadata, m.created_at))::bigint) FROM messages AS m WHERE NOT starts_with(m.message_id, 'live-')
"""

REMOVED = "SELECT count(*), sum(s.next_sequence - s.message_count) FROM sessions AS s"


class Service(threading.Thread):
    """Appends all the time, with one store, and sends a failed message again."""

    def __init__(self, conninfo, schema, sessions, over):
        super().__init__(daemon=True)
        self.store = dal.SessionStore.connect(conninfo, schema=schema, timeout=120)
        self.sessions, self.over = sessions, over
        self.acknowledged, self.errors, self.longest = [], Counter(), 0.0

    def run(self):
        for session_id in cycle(self.sessions):
            message_id, began = f"live-{new_id()}", time.monotonic()
            while True:
                try:
                    self.acknowledged.append(self.store.session(session_id).append("user", "x", message_id=message_id))
                    break
                except dal.DalError as error:
                    self.errors[type(error).__name__, error.sqlstate] += 1
            self.longest = max(self.longest, time.monotonic() - began)
            if self.over.is_set():
                break
        self.store.close()


@pytest.fixture
def plain(server):
    """Yield a schema whose tables are not distributed."""
    if server.kind != "citus":
        pytest.skip("needs --postgres=citus")
    name = f"bench_{ULID()}".lower()
    yield name
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        drop(connection, name)


def test_a_live_server_is_moved_to_the_cluster(server, plain, large, figure):
    size, over = LARGE if large else SIZE, threading.Event()
    options = {"autocommit": True, "options": f"-c search_path={plain}"}
    with psycopg.connect(server.conninfo, **options) as connection:
        dal.SessionStore(connection).apply_schema()
        fill(connection, size)
        connection.execute("VACUUM ANALYZE")
        ids = [
            one for (one,) in connection.execute("SELECT session_id FROM sessions WHERE status = 'active' LIMIT 200")
        ]
        before, removed = connection.execute(CHECKSUM).fetchone(), connection.execute(REMOVED).fetchone()
        assert before[0] == size
        services = [Service(server.conninfo, plain, ids[n::4], over) for n in range(4)]
        for one in services:
            one.start()
        try:
            time.sleep(2)
            began = time.monotonic()
            dal.SessionStore(connection).apply_schema(distributed=True, shards=4, in_place=True)
            seconds = time.monotonic() - began
            time.sleep(2)
        finally:
            over.set()
        for one in services:
            one.join(60)
        assert connection.execute(CHECKSUM).fetchone() == before
        stored = dict(
            connection.execute("SELECT message_id, sequence FROM messages WHERE starts_with(message_id, 'live-')")
        )
        acknowledged = {one.message_id: one.sequence for service in services for one in service.acknowledged}
        assert acknowledged == stored
        assert connection.execute(REMOVED).fetchone() == removed
        assert connection.execute(f"SELECT pg_relation_size('{plain}.messages')").fetchone() == (0,)
    errors = sum((one.errors for one in services), Counter())
    assert not errors
    figure("messages", f"{size:,}, in {sessions_of(size):,} sessions")
    figure("the move took", f"{seconds:.1f} s; the longest append {max(one.longest for one in services):.1f} s")
    figure("appends meanwhile", f"{len(acknowledged):,} acknowledged, all stored, none failed")
