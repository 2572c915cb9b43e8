"""Concurrent writers of one session: no gaps, no duplicates, no number that appears late."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import psycopg
import pytest

import dal

WRITERS, EACH = 8, 200


@pytest.fixture
def polls_of_reader(connect):
    """Poll all numbers of the session "busy" in a thread; call it to stop, and to get the polls."""
    connection, done, polls = connect(), threading.Event(), []

    def poll():
        while not done.is_set():
            rows = connection.execute("SELECT sequence FROM messages WHERE session_id = 'busy'").fetchall()
            polls.append({number for (number,) in rows})

    thread = threading.Thread(target=poll)
    thread.start()

    def stop():
        done.set()
        thread.join()
        return polls

    yield stop
    stop()


def assert_complete_and_in_order(numbers, polls, connection):
    assert sorted(numbers) == list(range(WRITERS * EACH))
    stored = connection.execute("SELECT sequence FROM messages ORDER BY sequence").fetchall()
    assert [number for (number,) in stored] == list(range(WRITERS * EACH))
    assert connection.execute("SELECT next_sequence, message_count FROM sessions").fetchall() == [
        (WRITERS * EACH, WRITERS * EACH)
    ]
    for seen, later in pairwise(polls):
        assert seen <= later
        assert min(later - seen, default=1 << 62) > max(seen, default=-1), (
            "a number appeared late, below one already seen"
        )
    assert len({len(poll) for poll in polls}) > 10, "the reader polled while the session grew"


def test_appends_of_eight_threads_are_numbered_without_gaps(connect, connection, polls_of_reader):
    stores = [dal.SessionStore(connect()) for _ in range(WRITERS)]
    start = threading.Barrier(WRITERS)

    def write(store):
        start.wait()
        session = store.session("busy")
        return [session.append("user", str(n)).sequence for n in range(EACH)]

    with ThreadPoolExecutor(WRITERS) as threads:
        written = list(threads.map(write, stores))
    assert all(numbers == sorted(numbers) for numbers in written)
    assert_complete_and_in_order([number for numbers in written for number in numbers], polls_of_reader(), connection)


async def test_appends_of_eight_tasks_are_numbered_without_gaps(server, options, tables, connection, polls_of_reader):
    connections = [await psycopg.AsyncConnection.connect(server.conninfo, **options) for _ in range(WRITERS)]

    async def write(raw):
        session = dal.AsyncSessionStore(raw).session("busy")
        return [(await session.append("user", str(n))).sequence for n in range(EACH)]

    written = await asyncio.gather(*map(write, connections))
    for raw in connections:
        await raw.close()
    assert all(numbers == sorted(numbers) for numbers in written)
    assert_complete_and_in_order([number for numbers in written for number in numbers], polls_of_reader(), connection)


@pytest.fixture
def race(connect):
    """Run `attempt(store, n)` on eight connections concurrently."""
    stores = [dal.SessionStore(connect()) for _ in range(WRITERS)]
    for store in stores:
        store.check_schema()

    def run(attempt):
        start = threading.Barrier(WRITERS)

        def one(n):
            start.wait()
            return attempt(stores[n], n)

        with ThreadPoolExecutor(WRITERS) as threads:
            return list(threads.map(one, range(WRITERS)))

    return run


def test_concurrent_first_appends_of_threads(race):
    for again in range(20):
        messages = race(lambda store, n, name=f"s{again}": store.session(name).append("user", str(n)))
        assert sorted(message.sequence for message in messages) == list(range(WRITERS))


async def test_concurrent_first_appends_of_tasks(server, options, tables):
    connections = [await psycopg.AsyncConnection.connect(server.conninfo, **options) for _ in range(WRITERS)]
    stores = [dal.AsyncSessionStore(raw) for raw in connections]
    for again in range(20):
        messages = await asyncio.gather(*(store.session(f"s{again}").append("user", "x") for store in stores))
        assert sorted(message.sequence for message in messages) == list(range(WRITERS))
    for raw in connections:
        await raw.close()


def test_the_same_message_sent_concurrently_is_stored_once(race, connection):
    for again in range(20):
        name = f"s{again}"
        messages = race(lambda store, n, name=name: store.session(name).append("user", "x", message_id="m"))
        assert {message.sequence for message in messages} == {0}
        assert dal.SessionStore(connection).session(name).record().next_sequence == 1


def test_concurrent_batches_and_single_appends_are_numbered_without_gaps(race, connection):
    def write(store, n):
        session = store.session("s")
        if n % 2:
            return [session.append("user", "x").sequence for _ in range(30)]
        return [
            message.sequence
            for _ in range(10)
            for message in session.append_all([dal.NewMessage(role="user", content="x") for _ in range(3)])
        ]

    numbers = [number for written in race(write) for number in written]
    assert sorted(numbers) == list(range(WRITERS * 30))
    record = dal.SessionStore(connection).session("s").record()
    assert (record.next_sequence, record.message_count) == (WRITERS * 30, WRITERS * 30)


def test_concurrent_appends_and_removals_neither_deadlock_nor_miscount(race, connection):
    def write(store, n):
        session = store.session("s")
        for k in range(40):
            session.append("user", "x", message_id=f"m{k % 7}-{n % 2}" if n % 3 else None)
            if k % 5 == n % 5:
                session.remove_from(max(0, session.record().next_sequence - 3))

    race(write)
    left = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
    assert dal.SessionStore(connection).session("s").record().message_count == left


def test_nothing_is_appended_after_archive_has_returned(race, connection):
    archived = threading.Event()

    def write(store, n):
        session = store.session("s")
        if n == 0:
            session.append("user", "x")
            for _ in range(20):
                session.append("user", "x")
            session.archive()
            archived.set()
            return []
        late = []
        while True:
            begun_after = archived.is_set()
            try:
                session.append("assistant", "x", agent_id=f"a{n}")
            except dal.SessionArchived:
                return late
            late.append(begun_after)

    assert not any(late for written in race(write) for late in written)
    session = dal.SessionStore(connection).session("s")
    assert set(session.agent_ids()) == {message.agent_id for message in session.messages(limit=10_000)} - {None}
