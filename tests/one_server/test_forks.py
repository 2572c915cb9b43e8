"""Forks: parent and child must not share a connection, a lock or a thread of a store."""

import asyncio
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext

import psycopg
import psycopg_pool
import pytest
from forks import TIMEOUT, Child, Fork, append_and_read, append_and_read_async, assert_consistent
from psycopg.conninfo import make_conninfo
from sides import pool_of

import dal

CHILDREN, CALLS = 3, 40


@contextmanager
def opened(server, schema, target):
    with dal.SessionStore.connect(server.conninfo, schema=schema, timeout=TIMEOUT, max_size=4) as store:
        if target == "writer":
            with store.writer() as writer:
                yield writer
        else:
            yield store


@asynccontextmanager
async def opened_async(server, schema, target):
    async with dal.AsyncSessionStore.connect(server.conninfo, schema=schema, timeout=TIMEOUT, max_size=4) as store:
        if target == "writer":
            async with store.writer() as writer:
                yield writer
        else:
            yield store


@pytest.mark.parametrize("target", ["store", "writer"])
def test_children_forked_while_threads_append(server, schema, connection, target):
    with opened(server, schema, target) as store:
        logs = [append_and_read(store, "before", calls=2, seed=0)]
        threads = [
            threading.Thread(target=lambda n=n: logs.append(append_and_read(store, f"parent {n}", calls=CALLS, seed=n)))
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        children = [
            Child(lambda n=n: append_and_read(store, f"child {n}", calls=CALLS, seed=10 + n)) for n in range(CHILDREN)
        ]
        logs += [child.result() for child in children]
        for thread in threads:
            thread.join(60)
        logs.append(append_and_read(store, "after", calls=2, seed=9))
    assert sum(len(log.acknowledged) for log in logs) == 4 + CALLS * (CHILDREN + 3)
    assert_consistent(connection, logs)


@pytest.mark.parametrize("target", ["store", "writer"])
def test_children_forked_while_tasks_append(server, schema, connection, target):
    async def parent():
        async with opened_async(server, schema, target) as store:
            logs = [await append_and_read_async(store, "before", calls=2, seed=0)]
            tasks = [
                asyncio.create_task(append_and_read_async(store, f"parent {n}", calls=CALLS, seed=n)) for n in range(3)
            ]
            await asyncio.sleep(0.02)
            children = [
                Child(lambda n=n: asyncio.run(append_and_read_async(store, f"child {n}", calls=CALLS, seed=10 + n)))
                for n in range(CHILDREN)
            ]
            logs += await asyncio.gather(*tasks)
            logs += [child.result() for child in children]
            logs.append(await append_and_read_async(store, "after", calls=2, seed=9))
            return logs

    logs = asyncio.run(parent())
    assert sum(len(log.acknowledged) for log in logs) == 4 + CALLS * (CHILDREN + 3)
    assert_consistent(connection, logs)


SHARED = {}
"""The store that workers inherit; it cannot be passed to them, since it cannot be pickled."""


def append_in_worker(n):
    return append_and_read(SHARED["store"], f"worker {n}", calls=10, seed=n)


@pytest.mark.parametrize("target", ["store", "writer"])
@pytest.mark.parametrize("kind", ["multiprocessing", "ProcessPoolExecutor"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_worker_pools(server, schema, connection, kind, target):
    fork = multiprocessing.get_context("fork")
    with opened(server, schema, target) as store:
        SHARED["store"] = store
        logs = [append_and_read(store, "before", calls=2, seed=0)]
        with fork.Pool(2) if kind == "multiprocessing" else ProcessPoolExecutor(2, mp_context=fork) as workers:
            logs += workers.map(append_in_worker, range(4))
            logs.append(append_and_read(store, "parent", calls=10, seed=5))
    assert sum(len(log.acknowledged) for log in logs) == 52
    assert_consistent(connection, logs)


def test_a_forked_child_may_fork_again(server, schema, connection):
    with opened(server, schema, "writer") as store:
        logs = [append_and_read(store, "before", calls=2, seed=0)]

        def run_child():
            before = append_and_read(store, "child", calls=2, seed=1)
            child = Child(lambda: append_and_read(store, "grandchild", calls=20, seed=2))
            after = append_and_read(store, "child", calls=20, seed=3)
            return before, after, child.result()

        logs += Child(run_child).result()
    assert_consistent(connection, logs)


@pytest.mark.parametrize("target", ["store", "writer"])
def test_the_parent_continues_after_a_child_is_killed(server, schema, connection, target):
    with opened(server, schema, target) as store:
        logs = [append_and_read(store, "before", calls=2, seed=0)]
        for n in range(3):
            child = Child(lambda n=n: append_and_read(store, f"killed {n}", calls=10_000, seed=n))
            logs.append(append_and_read(store, f"parent {n}", calls=30, seed=n))
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(AssertionError, match="no result"):
                child.result()
            logs.append(append_and_read(store, f"after {n}", calls=10, seed=n))
    assert_consistent(connection, logs)


def test_a_killed_parent_leaves_no_transaction_while_its_child_lives(server, schema, connection):
    """The child must not keep the parent's sockets open: else the server would not notice the parent's death."""

    def hold_and_die():
        store = dal.SessionStore.connect(server.conninfo, schema=schema)
        with store.transaction() as tx:
            tx.session("s").append("user", "held")
            orphan = Child(lambda: time.sleep(60))
            os.write(writes, f"{orphan.pid}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    reads, writes = os.pipe()
    killed = Child(hold_and_die)
    orphan = int(os.read(reads, 100))
    try:
        with pytest.raises(AssertionError, match="no result"):
            killed.result(1)
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute("LOCK TABLE sessions")  # Waits for the killed process's transaction to end.
    finally:
        os.kill(orphan, signal.SIGKILL)
        os.close(reads)
        os.close(writes)


def stored(connection):
    query = "SELECT session_id, count(*)::int FROM messages GROUP BY 1 ORDER BY 1"
    return dict(connection.execute(query).fetchall())


class Operations:
    """Operations with a fork in the middle; both processes continue them."""

    def __init__(self, store, fork):
        self._store, self._fork = store, fork
        self._session = store.session("s")

    def transaction(self):
        with self._store.transaction() as tx:
            tx.session("s").append("user", "before")
            self._fork()
            tx.session("s").append("user", "behind")

    def transaction_end(self):
        with self._store.transaction() as tx:
            tx.session("s").append("user", "before")
            self._fork()

    def connection(self):
        with self._store.connection() as connection:
            connection.execute("SELECT 1")
            self._fork()
            connection.execute("SELECT 1")

    def stream(self):
        messages = self._session.stream()
        next(messages)
        self._fork()
        assert len(list(messages)) == 1999

    def export(self):
        lines = self._store.export()
        next(lines)
        self._fork()
        list(lines)

    def import_(self):
        def lines():
            for n in range(2000):
                yield f'{{"message": {{"session_id": "copied", "role": "user", "content": "{n}"}}}}\n'
                if n == 1000:
                    self._fork()

        self._store.import_(lines())


OPERATIONS = [name for name in vars(Operations) if not name.startswith("_")]


@pytest.fixture(params=["own pool", "pool", "connection"])
def used(request, server, options, connect):
    """A store with 2,000 messages, created in each way."""
    conninfo = make_conninfo(server.conninfo, options=options["options"])
    with ExitStack() as deadline:
        if request.param == "own pool":
            store = deadline.enter_context(dal.SessionStore.connect(conninfo, timeout=TIMEOUT))
        elif request.param == "pool":
            pool = psycopg_pool.ConnectionPool(conninfo, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True)
            store = dal.SessionStore(deadline.enter_context(pool))
        else:
            store = dal.SessionStore(connect())
        store.session("s").append_all([dal.NewMessage(role="user", content="x" * 500)] * 2000)
        yield store


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_begun_before_the_fork_is_refused_in_the_child(used, connection, operation):
    fork, refused = Fork(), None
    try:
        getattr(Operations(used, fork.fork), operation)()
    except BaseException as error:  # The child reports its error, the parent raises it.
        if fork.pid != 0:
            raise
        refused = error
    if fork.pid == 0:
        fork.send_result(failed=False, value=(type(refused), str(refused)))
    kind, message = fork.result()
    assert kind is dal.StoreClosed, message
    assert re.search("another process.*SessionStore.connect.*post_fork", message)
    extra = {"transaction": 2, "transaction_end": 1}.get(operation, 0)
    assert used.session("s").append("user", "after").sequence == 2000 + extra
    assert stored(connection) == {"s": 2001 + extra} | ({"copied": 2000} if operation == "import_" else {})


@pytest.mark.parametrize("target", ["store", "writer"])
def test_a_callers_pool_is_refused_in_a_child(server, options, tables, target):
    with psycopg_pool.ConnectionPool(server.conninfo, kwargs=options, min_size=1, max_size=2, open=True) as pool:
        store = dal.SessionStore(pool)
        with nullcontext(store) if target == "store" else getattr(store, target)() as used:
            used.session("s").append("user", "x")

            def refused(store):
                began = time.monotonic()
                with pytest.raises(dal.StoreClosed, match="another process.*SessionStore.connect.*post_fork"):
                    store.session("s").append("user", "x")
                with pytest.raises(dal.StoreClosed, match="another process.*SessionStore.connect.*post_fork"):
                    store.session("s").latest()
                return time.monotonic() - began

            assert Child(lambda: refused(used)).result() < 5
            assert (
                Child(lambda: refused(dal.SessionStore(pool))).result() < 5
            )  # A new store in the child, with the same pool.
            assert used.session("s").append("user", "x").sequence == 1


async def test_a_callers_async_pool_or_connection_is_refused_in_a_child(server, options, tables):
    pool = psycopg_pool.AsyncConnectionPool(server.conninfo, kwargs=options, min_size=1, max_size=2, open=False)
    async with pool, await psycopg.AsyncConnection.connect(server.conninfo, **options) as connection:
        for source in (pool, connection):
            store = dal.AsyncSessionStore(source)
            before = await store.session("s").append("user", "x")

            async def refused(store=store):
                with pytest.raises(dal.StoreClosed, match="another process.*SessionStore.connect.*post_fork"):
                    await store.session("s").append("user", "x")

            async with store.transaction() as tx:
                for one in (store, tx):
                    assert Child(lambda one=one: asyncio.run(refused(one))).result() is None
            assert (await store.session("s").append("user", "x")).sequence == before.sequence + 1


ENDS_NORMALLY = """
import gc, os, sys, warnings
import dal

store = dal.SessionStore.connect(sys.argv[1], schema=sys.argv[2])
writer = store.writer()
held = store.transaction()
inside = held.__enter__()
inside.session("s").append("user", "x")
for way in (store, writer):
    way.session("other").append("user", "x")
stream = store.session("other").stream()
next(stream)
pid = os.fork()
if pid == 0:
    if "used" in sys.argv:
        assert writer.session("other").append("user", "x").sequence == 2
    if "closed" in sys.argv:
        for way in (writer, store):
            way.close()
    if "collected" in sys.argv:
        del store, writer, held, inside, way, stream
        gc.collect()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert len(list(stream)) == 1
assert inside.session("s").append("user", "x").sequence == 1
held.__exit__(None, None, None)
for way in (store, writer):
    way.session("other").append("user", "x")
writer.close()
store.close()
"""


@pytest.mark.parametrize("how", ["", "used", "closed", "collected"])
def test_a_child_that_exits_sends_nothing_on_the_parents_connections(server, schema, connection, how):
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", ENDS_NORMALLY]
    done = subprocess.run(
        [*command, server.conninfo, schema, how], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert stored(connection) == {"s": 2, "other": 5 if how == "used" else 4}


def test_a_child_does_not_finalize_its_parents_pool(server, schema, tables):
    """A thread of the parent may have held the pool's locks; nobody releases them in the child."""
    with dal.SessionStore.connect(server.conninfo, schema=schema) as store:
        store.check_schema()
        pool = pool_of(store)
        with pool._sched._lock:
            child = Child(pool.__del__)
        assert child.result(10) is None
        store.check_schema()


WITHOUT_HOOKS = """
import ctypes, os, sys, time
import dal
from dal.ids import new_id

store = dal.SessionStore.connect(sys.argv[1], schema=sys.argv[2])
writer = store.writer()
new_id()
sessions = [store.session("store"), writer.session("writer")]
for session in sessions:
    session.append("user", "before")
# A child without hooks hangs if another thread waits for Python's lock at the fork; so the pool must be at rest.
for pool in store._backend.runner.source.pools:
    pool.wait()
time.sleep(0.2)
reads, writes = os.pipe()
pid = ctypes.PyDLL(None).fork()
ids = {new_id()[10:] for _ in range(100)}
for session in sessions:
    for _ in range(20):
        session.append("user", "after")
if pid == 0:
    os.write(writes, " ".join(ids).encode())
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert ids.isdisjoint(os.read(reads, 1 << 16).decode().split())
writer.close()
store.close()
"""


def test_a_fork_without_python_hooks(server, schema, connection):
    """uWSGI forks like this by default."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HOOKS, server.conninfo, schema],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert stored(connection) == {"store": 41, "writer": 41}


APP = """
import json, os
import dal

store = dal.SessionStore.connect(os.environ["CONNINFO"], schema=os.environ["SCHEMA"], timeout=10)
writer = store.writer()
for n in range(20):  # At import, in the master process.
    store.for_user("master").session(f"of master {n}").append("user", "master")
writer.session("of master 0").append("user", "master")


def app(environ, start_response):
    user, way = environ["PATH_INFO"].strip("/").split("/")
    own = (writer if way == "writer" else store).for_user(user)
    session = own.session(f"of {user}")
    sent = session.append("user", f"{user} says hello")
    body = {
        "pid": os.getpid(),
        "sequence": sent.sequence,
        "message_id": sent.message_id,
        "found": session.message(sent.message_id).sequence,
        "contents": [message.content for message in session.latest(50)],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
"""


def test_gunicorn_with_a_preloaded_store(server, schema, connection, tmp_path):
    (tmp_path / "service.py").write_text(APP)
    log = tmp_path / "log"
    environment = os.environ | {"CONNINFO": server.conninfo, "SCHEMA": schema}
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers=2", "--threads=4", "--worker-class=gthread"]
    with log.open("wb") as file:
        gunicorn = subprocess.Popen(
            [*command, "--bind=127.0.0.1:0", "service:app"],
            cwd=tmp_path, env=environment, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        port = port_in(log)

        def request(n):
            user = f"u{min(n % 7, n % 5)}"
            address = f"http://127.0.0.1:{port}/{user}/{'writer' if n % 2 else 'store'}"
            with urllib.request.urlopen(address, timeout=TIMEOUT) as reply:
                return user, json.load(reply)

        with ThreadPoolExecutor(8) as clients:
            replies = list(clients.map(request, range(400)))
    finally:
        gunicorn.terminate()
        assert gunicorn.wait(30) == 0, log.read_text()
    assert len({reply["pid"] for _, reply in replies}) == 2
    foreign = [reply for user, reply in replies if set(reply["contents"]) != {f"{user} says hello"}]
    assert not foreign
    rows = connection.execute("SELECT message_id, sequence, session_id FROM messages").fetchall()
    numbers = {message_id: (sequence, session_id) for message_id, sequence, session_id in rows}
    for user, reply in replies:
        assert numbers[reply["message_id"]] == (reply["sequence"], f"of {user}")
        assert reply["found"] == reply["sequence"]
    assert "Traceback" not in log.read_text()
    assert len(rows) == 21 + len(replies)


def port_in(log):
    """Return the port that a server has written to its log."""
    deadline = time.monotonic() + 30
    while not (found := re.search(r"Listening at: http://127.0.0.1:(\d+)", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[1]
