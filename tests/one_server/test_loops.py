"""One asynchronous store in several event loops: one after the other, concurrently, and after a loop was closed."""

import asyncio
import random
import socket
import threading
import time

import psycopg
import psycopg_pool
import pytest
from forks import Child
from psycopg.conninfo import make_conninfo

import dal

MAX_SIZE, TIMEOUT = 3, 10.0
each_target = pytest.mark.parametrize("target", ["store", "writer"])


@pytest.fixture
def conninfo(server, schema, tables):
    return make_conninfo(server.conninfo, application_name=schema)


@pytest.fixture
def connections(connection, schema):
    """Return the number of the stores' connections, as soon as it is at most `most`."""

    def count(most):
        deadline = time.monotonic() + 10
        while True:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            (found,) = connection.execute(query, [schema]).fetchone()
            if found <= most or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    return count


def open_store(conninfo, schema, **options):
    return dal.AsyncSessionStore.connect(conninfo, schema=schema, max_size=MAX_SIZE, timeout=TIMEOUT, **options)


def target_of(store, target):
    return store if target == "store" else getattr(store, target)()


async def close(*stores):
    for store in dict.fromkeys(stores):
        await store.close()


async def append_and_read(store, seed, turns=10, tasks=6):
    """Append and read in more tasks than the pool has connections; return the acknowledged messages."""
    chance = random.Random(seed)

    async def one(n):
        session = store.session(f"{seed} {min(n, chance.randrange(tasks))}")
        acknowledged = []
        for turn in range(turns):
            message = await session.append("user", f"{seed} {n} {turn}")
            acknowledged.append((session.id, message.sequence, message.content))
            assert message in await session.latest(tasks * turns)
        return acknowledged

    async with asyncio.timeout(3 * TIMEOUT):
        return [one for lists in await asyncio.gather(*map(one, range(tasks))) for one in lists]


def assert_stored(connection, acknowledged):
    stored = connection.execute("SELECT session_id, sequence, content FROM messages").fetchall()
    assert sorted(stored) == sorted(acknowledged)


@each_target
def test_a_store_works_in_one_loop_after_the_other(conninfo, schema, connection, connections, target):
    parent = open_store(conninfo, schema)
    store = target_of(parent, target)
    acknowledged = []
    for n in range(4):
        acknowledged += asyncio.run(append_and_read(store, n))
        assert 0 < connections(MAX_SIZE) <= MAX_SIZE  # Those of earlier loops are closed.
    asyncio.run(close(store, parent))
    assert_stored(connection, acknowledged)


def test_an_attempt_to_connect_that_is_cancelled_leaves_no_open_socket():
    """The pool's log record keeps the error of the attempt, but it must not keep the socket."""

    async def begin(store):
        connecting = asyncio.create_task(store.check_schema())
        client, _ = await asyncio.to_thread(listener.accept)
        assert not connecting.done()
        return client

    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        conninfo = f"host={host} port={port} user=u dbname=d sslmode=disable gssencmode=disable"
        store = dal.AsyncSessionStore.connect(conninfo, timeout=5)
        with asyncio.run(begin(store)) as client:
            client.settimeout(1)
            while client.recv(1024):  # The startup message, and then the end.
                pass
        asyncio.run(store.close())


@each_target
def test_a_store_works_in_new_loops_after_connections_were_lost(conninfo, schema, connection, connections, target):
    parent = open_store(conninfo, schema)
    store = target_of(parent, target)
    acknowledged = []
    for n in range(4):
        acknowledged += asyncio.run(append_and_read(store, n, turns=3))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [schema]
        )
        assert connections(0) == 0
    asyncio.run(close(store, parent))
    assert_stored(connection, acknowledged)


@each_target
def test_a_store_works_in_concurrent_loops(conninfo, schema, connection, connections, target):
    """Each loop has its own pool; closing the store closes all of them."""
    threads, acknowledged, errors = 4, [], []
    barrier, closed = threading.Barrier(threads), threading.Event()
    parent = open_store(conninfo, schema)
    store = target_of(parent, target)

    async def run_in_loop(n):
        acknowledged.extend(await append_and_read(store, n))
        barrier.wait(30)
        acknowledged.extend(await append_and_read(store, n + 10))
        barrier.wait(30)
        if n == 0:
            await close(store, parent)
            closed.set()
        await asyncio.to_thread(closed.wait, 30)
        with pytest.raises(dal.StoreClosed):
            await parent.session("s").latest()

    def run(n):
        try:
            asyncio.run(run_in_loop(n))
        except BaseException as error:  # noqa: BLE001 - the test raises it
            errors.append(error)
            barrier.abort()

    running = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(90)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in running)
    assert connections(0) == 0
    assert_stored(connection, acknowledged)


@each_target
def test_tasks_of_a_closed_loop_do_not_block_others(conninfo, schema, connect, target):
    def leave_tasks_in_a_closed_loop():
        other = connect(autocommit=False)
        parent = open_store(conninfo, schema)
        store = target_of(parent, target)
        asyncio.run(store.session("s").append("user", "first"))
        other.execute("SELECT FROM sessions WHERE session_id = 's' FOR UPDATE")
        loop = asyncio.new_event_loop()

        async def leave():
            tasks = [asyncio.create_task(store.session("s").append("user", f"left {n}")) for n in range(8)]
            await asyncio.sleep(0.3)
            return tasks

        async def append_and_close():
            stored = await store.session("s").append("user", "second")
            await store.close()
            await parent.close()
            return stored.content

        left = loop.run_until_complete(leave())
        loop.close()  # Its tasks are neither cancelled nor awaited.
        other.rollback()
        return asyncio.run(append_and_close()), [task.done() for task in left]

    # In another process, which ends without asyncio's warnings about such tasks.
    assert Child(leave_tasks_in_a_closed_loop).result(3 * TIMEOUT) == ("second", [False] * 8)


@pytest.fixture
def other_loop():
    """Run a coroutine in the event loop of another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


REFUSED_IN_ANOTHER_LOOP = pytest.raises(dal.StoreClosed, match="another event loop.*AsyncSessionStore.connect")


async def test_a_callers_pool_is_refused_in_another_loop(server, options, tables, other_loop):
    pool = psycopg_pool.AsyncConnectionPool(server.conninfo, kwargs=options, min_size=1, max_size=1, open=False)
    async with pool:
        store = dal.AsyncSessionStore(pool)
        began = time.monotonic()
        with REFUSED_IN_ANOTHER_LOOP:
            other_loop(store.session("s").append("user", "x"))
        async with pool.connection():  # The only connection: a waiter in another loop would never be woken.
            with REFUSED_IN_ANOTHER_LOOP:
                other_loop(store.session("s").append("user", "x"))
        async with store.writer() as writer:
            with REFUSED_IN_ANOTHER_LOOP:
                other_loop(writer.session("s").append("user", "x"))
            assert (await writer.session("s").append("user", "x")).content == "x"
        assert time.monotonic() - began < 5


async def test_a_callers_connection_is_refused_in_another_loop(server, options, tables, other_loop):
    async with await psycopg.AsyncConnection.connect(server.conninfo, **options) as connection:
        store = dal.AsyncSessionStore(connection)
        assert (await store.session("s").append("user", "x")).sequence == 0
        with REFUSED_IN_ANOTHER_LOOP:
            other_loop(store.session("s").append("user", "x"))
        assert (await store.session("s").append("user", "x")).sequence == 1


async def test_a_transaction_is_refused_in_another_loop(server, schema, tables, other_loop):
    async with dal.AsyncSessionStore.connect(server.conninfo, schema=schema) as store, store.transaction() as tx:
        await tx.session("s").append("user", "x")
        with REFUSED_IN_ANOTHER_LOOP:
            other_loop(tx.session("s").append("user", "x"))
        assert (await tx.session("s").append("user", "x")).sequence == 1


def test_a_callers_pool_may_be_opened_after_a_failed_call(server, options, tables):
    pool = psycopg_pool.AsyncConnectionPool(server.conninfo, kwargs=options, min_size=1, max_size=1, open=False)
    store = dal.AsyncSessionStore(pool)

    async def use():
        async with pool:
            return (await store.session("s").append("user", "x")).sequence

    with pytest.raises(dal.StoreClosed, match="not open"):
        asyncio.run(store.session("s").append("user", "x"))
    assert asyncio.run(use()) == 0
