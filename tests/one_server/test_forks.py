"""A store that was used before a fork: parent and child must not share a connection, a lock or a thread."""

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
from forks import TIMEOUT, Child, Fork, check, use, use_async
from psycopg.conninfo import make_conninfo
from sides import pool_of

import dal

CHILDREN, CALLS = 3, 40


@contextmanager
def opened(server, schema, way):
    with dal.SessionStore.connect(server.conninfo, schema=schema, timeout=TIMEOUT, max_size=4) as store:
        if way == "writer":
            with store.writer() as writer:
                yield writer
        else:
            yield store


@asynccontextmanager
async def opened_async(server, schema, way):
    async with dal.AsyncSessionStore.connect(server.conninfo, schema=schema, timeout=TIMEOUT, max_size=4) as store:
        if way == "writer":
            async with store.writer() as writer:
                yield writer
        else:
            yield store


@pytest.mark.parametrize("way", ["store", "writer"])
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


@pytest.mark.parametrize("way", ["store", "writer"])
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


SHARED = {}
"""The store that a worker inherits: its functions take what can be pickled alone."""


def used_in_a_worker(n):
    return use(SHARED["store"], f"worker {n}", calls=10, seed=n)


@pytest.mark.parametrize("way", ["store", "writer"])
@pytest.mark.parametrize("kind", ["multiprocessing", "ProcessPoolExecutor"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_that_are_forked(server, schema, connection, kind, way):
    fork = multiprocessing.get_context("fork")
    with opened(server, schema, way) as store:
        SHARED["store"] = store
        crowd = [use(store, "before", calls=2, seed=0)]
        with fork.Pool(2) if kind == "multiprocessing" else ProcessPoolExecutor(2, mp_context=fork) as workers:
            crowd += workers.map(used_in_a_worker, range(4))
            crowd.append(use(store, "parent", calls=10, seed=5))
    assert sum(len(seen.acknowledged) for seen in crowd) == 52
    check(connection, crowd)


def test_a_child_of_a_child(server, schema, connection):
    with opened(server, schema, "writer") as store:
        crowd = [use(store, "before", calls=2, seed=0)]

        def have_a_child():
            own = use(store, "child", calls=2, seed=1)
            child = Child(lambda: use(store, "grandchild", calls=20, seed=2))
            more = use(store, "child", calls=20, seed=3)
            return own, more, child.result()

        crowd += Child(have_a_child).result()
    check(connection, crowd)


@pytest.mark.parametrize("way", ["store", "writer"])
def test_a_child_that_is_killed_while_it_appends(server, schema, connection, way):
    with opened(server, schema, way) as store:
        crowd = [use(store, "before", calls=2, seed=0)]
        for n in range(3):
            child = Child(lambda n=n: use(store, f"killed {n}", calls=10_000, seed=n))
            crowd.append(use(store, f"parent {n}", calls=30, seed=n))
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(AssertionError, match="told nothing"):
                child.result()
            crowd.append(use(store, f"after {n}", calls=10, seed=n))
    check(connection, crowd)


def test_a_parent_that_is_killed_leaves_no_transaction(server, schema, connection):
    """A child that lives on must not keep the parent's sockets open, since the server would not see that it died."""

    def be_killed():
        store = dal.SessionStore.connect(server.conninfo, schema=schema)
        with store.transaction() as tx:
            tx.session("s").append("user", "held")
            orphan = Child(lambda: time.sleep(60))
            os.write(tells, f"{orphan.pid}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    reads, tells = os.pipe()
    killed = Child(be_killed)
    orphan = int(os.read(reads, 100))
    try:
        with pytest.raises(AssertionError, match="told nothing"):
            killed.result(1)
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute("LOCK TABLE sessions")  # It waits for the killed process's transaction to end.
    finally:
        os.kill(orphan, signal.SIGKILL)
        os.close(reads)
        os.close(tells)


def stored(connection):
    query = "SELECT session_id, count(*)::int FROM messages GROUP BY 1 ORDER BY 1"
    return dict(connection.execute(query).fetchall())


class Begun:
    """Something that is begun, with a fork in the middle of it; both processes go on."""

    def __init__(self, store, fork):
        self._store, self._fork = store, fork
        self._session = store.session("s")

    def transaction(self):
        with self._store.transaction() as tx:
            tx.session("s").append("user", "before")
            self._fork()
            tx.session("s").append("user", "behind")

    def left_transaction(self):
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


BEGUN = [name for name in vars(Begun) if not name.startswith("_")]


@pytest.fixture(params=["own pool", "pool", "connection"])
def used(request, server, options, connect):
    """A store with 2,000 messages, of each kind."""
    conninfo = make_conninfo(server.conninfo, options=options["options"])
    with ExitStack() as ends:
        if request.param == "own pool":
            store = ends.enter_context(dal.SessionStore.connect(conninfo, timeout=TIMEOUT))
        elif request.param == "pool":
            pool = psycopg_pool.ConnectionPool(conninfo, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True)
            store = dal.SessionStore(ends.enter_context(pool))
        else:
            store = dal.SessionStore(connect())
        store.session("s").append_all([dal.NewMessage(role="user", content="x" * 500)] * 2000)
        yield store


@pytest.mark.parametrize("what", BEGUN)
def test_what_was_begun_in_the_parent_is_refused_in_the_child(used, connection, what):
    fork, refused = Fork(), None
    try:
        getattr(Begun(used, fork.now), what)()
    except BaseException as error:  # The child's is told, the parent's is raised.
        if fork.pid != 0:
            raise
        refused = error
    if fork.pid == 0:
        fork.tell(failed=False, value=(type(refused), str(refused)))
    kind, told = fork.result()
    assert kind is dal.StoreClosed, told
    assert re.search("another process.*SessionStore.connect.*post_fork", told)
    more = {"transaction": 2, "left_transaction": 1}.get(what, 0)
    assert used.session("s").append("user", "after").sequence == 2000 + more
    assert stored(connection) == {"s": 2001 + more} | ({"copied": 2000} if what == "import_" else {})


@pytest.mark.parametrize("way", ["store", "writer"])
def test_a_pool_of_the_callers_is_refused_in_a_child(server, options, tables, way):
    with psycopg_pool.ConnectionPool(server.conninfo, kwargs=options, min_size=1, max_size=2, open=True) as pool:
        store = dal.SessionStore(pool)
        with nullcontext(store) if way == "store" else getattr(store, way)() as used:
            used.session("s").append("user", "x")

            def refused(store):
                began = time.monotonic()
                with pytest.raises(dal.StoreClosed, match="another process.*SessionStore.connect.*post_fork"):
                    store.session("s").append("user", "x")
                with pytest.raises(dal.StoreClosed, match="another process.*SessionStore.connect.*post_fork"):
                    store.session("s").latest()
                return time.monotonic() - began

            assert Child(lambda: refused(used)).result() < 5
            assert Child(lambda: refused(dal.SessionStore(pool))).result() < 5  # Made in the child, of the same pool.
            assert used.session("s").append("user", "x").sequence == 1


async def test_what_is_the_callers_is_refused_in_a_child(server, options, tables):
    """On the asynchronous side."""
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
def test_a_child_that_ends_normally_sends_nothing_to_the_parents_server(server, schema, connection, how):
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", ENDS_NORMALLY]
    done = subprocess.run(
        [*command, server.conninfo, schema, how], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert stored(connection) == {"s": 2, "other": 5 if how == "used" else 4}


def test_a_child_finalizes_no_pool_of_its_parent(server, schema, tables):
    """Another thread of the parent may have held the pool's locks, which nobody releases in the child."""
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


def test_a_fork_that_runs_no_hooks(server, schema, connection):
    """As uWSGI's, unless it is told to."""
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
for n in range(20):  # At import, in the process that all workers are forked from.
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


def test_gunicorn_with_a_store_that_was_made_before_the_fork(server, schema, connection, tmp_path):
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
        port = listening(log)

        def ask(n):
            user = f"u{min(n % 7, n % 5)}"
            address = f"http://127.0.0.1:{port}/{user}/{'writer' if n % 2 else 'store'}"
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:
                return user, json.load(answer)

        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(ask, range(400)))
    finally:
        gunicorn.terminate()
        assert gunicorn.wait(30) == 0, log.read_text()
    assert len({told["pid"] for _, told in answers}) == 2
    foreign = [told for user, told in answers if set(told["contents"]) != {f"{user} says hello"}]
    assert not foreign
    rows = connection.execute("SELECT message_id, sequence, session_id FROM messages").fetchall()
    numbers = {message_id: (sequence, session_id) for message_id, sequence, session_id in rows}
    for user, told in answers:
        assert numbers[told["message_id"]] == (told["sequence"], f"of {user}")
        assert told["found"] == told["sequence"]
    assert "Traceback" not in log.read_text()
    assert len(rows) == 21 + len(answers)


def listening(log):
    """The port that a server has written to its log."""
    ends = time.monotonic() + 30
    while not (found := re.search(r"Listening at: http://127.0.0.1:(\d+)", log.read_text())):
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.05)
    return found[1]


ENDS = """
import sys, dal
store = dal.SessionStore.connect(sys.argv[1], schema=sys.argv[2])
store.session().append("user", "x")
"""


def test_a_program_ends_in_silence_without_closing_its_store(server, schema, tables, tmp_path):
    """From Python 3.13 on, the pool waited for each of its threads, and said that it could not stop them."""
    (tmp_path / "ends.py").write_text(ENDS)
    command = [sys.executable, tmp_path / "ends.py", server.conninfo, schema]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
