"""One asynchronous store in several event loops: one after the other, at the same time, and some that have died."""

import asyncio
import random
import threading
import time

import psycopg
import psycopg_pool
import pytest
from forks import Child
from psycopg.conninfo import make_conninfo

import dal

MAX_SIZE, TIMEOUT = 3, 10.0
WAYS = pytest.mark.parametrize("way", ["store", "writer"])


@pytest.fixture
def conninfo(server, schema, tables):
    return make_conninfo(server.conninfo, application_name=schema)


@pytest.fixture
def connections(connection, schema):
    """Count the stores' connections at the server, once there are at most so many."""

    def count(most):
        ends = time.monotonic() + 10
        while True:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            (found,) = connection.execute(query, [schema]).fetchone()
            if found <= most or time.monotonic() > ends:
                return found
            time.sleep(0.02)

    return count


def open_store(conninfo, schema, **options):
    return dal.AsyncSessionStore.connect(conninfo, schema=schema, max_size=MAX_SIZE, timeout=TIMEOUT, **options)


def of_kind(store, way):
    return store if way == "store" else getattr(store, way)()


async def close(*stores):
    for store in dict.fromkeys(stores):
        await store.close()


async def converse(store, seed, turns=10, crowd=6):
    """Append and read in as many tasks as more than share the pool's connections; return what was acknowledged."""
    chance = random.Random(seed)

    async def one(n):
        session = store.session(f"{seed} {min(n, chance.randrange(crowd))}")
        acknowledged = []
        for turn in range(turns):
            message = await session.append("user", f"{seed} {n} {turn}")
            acknowledged.append((session.id, message.sequence, message.content))
            assert message in await session.latest(crowd * turns)
        return acknowledged

    async with asyncio.timeout(3 * TIMEOUT):
        return [one for lists in await asyncio.gather(*map(one, range(crowd))) for one in lists]


def check(connection, acknowledged):
    stored = connection.execute("SELECT session_id, sequence, content FROM messages").fetchall()
    assert sorted(stored) == sorted(acknowledged)


@WAYS
def test_one_loop_after_the_other(conninfo, schema, connection, connections, way):
    parent = open_store(conninfo, schema)
    store = of_kind(parent, way)
    acknowledged = []
    for n in range(4):
        acknowledged += asyncio.run(converse(store, n))
        assert 0 < connections(MAX_SIZE) <= MAX_SIZE  # Those of the loops before are gone.
    asyncio.run(close(store, parent))
    check(connection, acknowledged)


@WAYS
def test_after_every_connection_was_lost(conninfo, schema, connection, connections, way):
    parent = open_store(conninfo, schema)
    store = of_kind(parent, way)
    acknowledged = []
    for n in range(4):
        acknowledged += asyncio.run(converse(store, n, turns=3))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [schema]
        )
        assert connections(0) == 0
    asyncio.run(close(store, parent))
    check(connection, acknowledged)


@WAYS
def test_loops_in_threads(conninfo, schema, connection, connections, way):
    """Each has a pool of its own; whoever closes the store closes all of them."""
    threads, acknowledged, errors = 4, [], []
    everywhere, closed = threading.Barrier(threads), threading.Event()
    parent = open_store(conninfo, schema)
    store = of_kind(parent, way)

    async def live(n):
        acknowledged.extend(await converse(store, n))
        everywhere.wait(30)
        acknowledged.extend(await converse(store, n + 10))
        everywhere.wait(30)
        if n == 0:
            await close(store, parent)
            closed.set()
        await asyncio.to_thread(closed.wait, 30)
        with pytest.raises(dal.StoreClosed):
            await parent.session("s").latest()

    def run(n):
        try:
            asyncio.run(live(n))
        except BaseException as error:  # noqa: BLE001 - the test raises it
            errors.append(error)
            everywhere.abort()

    running = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(90)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in running)
    assert connections(0) == 0
    check(connection, acknowledged)


@WAYS
def test_what_a_dead_loop_left_blocks_nobody(conninfo, schema, connect, way):
    def leave_some():
        other = connect(autocommit=False)
        parent = open_store(conninfo, schema)
        store = of_kind(parent, way)
        asyncio.run(store.session("s").append("user", "first"))
        other.execute("SELECT FROM sessions FOR UPDATE")
        loop = asyncio.new_event_loop()

        async def leave():
            tasks = [asyncio.create_task(store.session("s").append("user", f"left {n}")) for n in range(8)]
            await asyncio.sleep(0.3)
            return tasks

        async def go_on():
            stored = await store.session("s").append("user", "second")
            await store.close()
            await parent.close()
            return stored.content

        left = loop.run_until_complete(leave())
        loop.close()  # As it is: its tasks are neither cancelled nor awaited.
        other.rollback()
        return asyncio.run(go_on()), [task.done() for task in left]

    # In a process of its own, which ends without the warnings that asyncio has for such tasks.
    assert Child(leave_some).result(3 * TIMEOUT) == ("second", [False] * 8)


@pytest.fixture
def other_loop():
    """Run a coroutine in an event loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


ELSEWHERE = pytest.raises(dal.StoreClosed, match="another event loop.*AsyncSessionStore.connect")


async def test_a_pool_of_the_callers_in_another_loop(server, options, tables, other_loop):
    pool = psycopg_pool.AsyncConnectionPool(server.conninfo, kwargs=options, min_size=1, max_size=1, open=False)
    async with pool:
        store = dal.AsyncSessionStore(pool)
        began = time.monotonic()
        with ELSEWHERE:
            other_loop(store.session("s").append("user", "x"))
        async with pool.connection():  # The only one: who waits for it in another loop would not be woken.
            with ELSEWHERE:
                other_loop(store.session("s").append("user", "x"))
        async with store.writer() as writer:
            with ELSEWHERE:
                other_loop(writer.session("s").append("user", "x"))
            assert (await writer.session("s").append("user", "x")).content == "x"
        assert time.monotonic() - began < 5


async def test_a_connection_of_the_callers_in_another_loop(server, options, tables, other_loop):
    async with await psycopg.AsyncConnection.connect(server.conninfo, **options) as connection:
        store = dal.AsyncSessionStore(connection)
        assert (await store.session("s").append("user", "x")).sequence == 0
        with ELSEWHERE:
            other_loop(store.session("s").append("user", "x"))
        assert (await store.session("s").append("user", "x")).sequence == 1


async def test_a_transaction_in_another_loop(server, schema, tables, other_loop):
    async with dal.AsyncSessionStore.connect(server.conninfo, schema=schema) as store, store.transaction() as tx:
        await tx.session("s").append("user", "x")
        with ELSEWHERE:
            other_loop(tx.session("s").append("user", "x"))
        assert (await tx.session("s").append("user", "x")).sequence == 1


def test_a_pool_that_is_opened_after_its_store_was_tried(server, options, tables):
    pool = psycopg_pool.AsyncConnectionPool(server.conninfo, kwargs=options, min_size=1, max_size=1, open=False)
    store = dal.AsyncSessionStore(pool)

    async def use():
        async with pool:
            return (await store.session("s").append("user", "x")).sequence

    with pytest.raises(dal.StoreClosed, match="not open"):
        asyncio.run(store.session("s").append("user", "x"))
    assert asyncio.run(use()) == 0
