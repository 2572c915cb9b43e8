"""Reads from a standby: which server runs a statement, how new its rows are, and what happens if the standby fails."""

import asyncio
import logging
import os
import re
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
from faults.cluster import Cluster, free_port, wait_until
from psycopg.conninfo import make_conninfo
from sides import Blocking, pool_of, unwrap

import dal
from dal import NewMessage, own_writes
from dal.gate import wire

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
HELLO = NewMessage(role="user", content="hello")

SESSION_READS = {
    "agent_ids": lambda session: session.agent_ids(),
    "changes": lambda session: session.changes(),
    "latest": lambda session: session.latest(),
    "message": lambda session: session.message("m1"),
    "messages": lambda session: session.messages(),
    "messages before": lambda session: session.messages(before=9),
    "open": lambda session: session.open(),
    "record": lambda session: session.record(),
    "removed": lambda session: session.removed(),
}
STORE_READS = {
    "agent_ids": lambda store: store.agent_ids(["talk"]),
    "count_sessions": lambda store: store.count_sessions(user_id="u1"),
    "sessions": lambda store: store.sessions(),
    "sessions of a source": lambda store: store.sessions(source="s1"),
    "sessions of a user": lambda store: store.sessions(user_id="u1"),
    "sessions of a parent": lambda store: store.sessions(parent_id="p1"),
}
SESSION_WRITES = {
    "annotate": lambda session: session.annotate("m1", {"rating": 5}),
    "append": lambda session: session.append("assistant", "more", agent_id="b"),
    "append_all": lambda session: session.append_all([HELLO, HELLO], session_metadata={"title": "x"}),
    "archive": lambda session: session.archive(),
    "create": lambda session: session.create(),
    "delete": lambda session: session.delete(),
    "fork": lambda session: session.fork(),
    "pause": lambda session: session.pause(),
    "redact": lambda session: session.redact("m1"),
    "remove_from": lambda session: session.remove_from(1),
    "remove_last": lambda session: session.remove_last(),
    "replace_from": lambda session: session.replace_from(1, [HELLO]),
    "replace_from by nothing": lambda session: session.replace_from(1, []),
    "reset": lambda session: session.reset(),
    "restore": lambda session: session.restore(),
    "resume": lambda session: session.resume(),
    "stream": lambda session: list(session.stream()),
    "trash": lambda session: session.trash(),
    "update_metadata": lambda session: session.update_metadata({"title": "y"}),
}
"""Calls that the primary answers. A stream only reads, but must not change servers between two pages."""
STORE_WRITES = {
    "append_all": lambda store: store.append_all([(unwrap(talk_of(store)), HELLO)]),
    "apply_schema": lambda store: store.apply_schema(),
    "check_schema": lambda store: store.check_schema(),
    "delete_idle": lambda store: store.delete_idle(LONG_AGO),
    "erase_user": lambda store: store.erase_user("nobody"),
    "export": lambda store: list(store.export()),
    "import_": lambda store: store.import_(list(store.export())),
    "purge": lambda store: store.purge(LONG_AGO),
}
SENDS_NOTHING = {
    "close",
    "connect",
    "connection",
    "for_user",
    "on_primary",
    "session",
    "transaction",
    "using",
    "writer",
}


def start(standby):
    """Start it, and wait until it is consistent, for which pg_ctl does not wait."""
    standby.start()
    wait_until(partial(accepts_connections, standby), "the standby started")


def accepts_connections(standby):
    with suppress(psycopg.OperationalError):
        standby.connect().close()
        return True
    return False


@contextmanager
def servers():
    """Start a primary and its standby, which log all statements."""
    primary, standby = Cluster(), Cluster()
    try:
        primary.make(log_statement="'all'").start()
        with dal.SessionStore.connect(primary.conninfo) as store:
            store.apply_schema()
        start(standby.copy(primary, max_standby_streaming_delay="-1"))  # It cancels no statement.
        yield primary, standby
    finally:
        standby.remove()
        primary.remove()


@pytest.fixture(scope="module")
def pair():
    with servers() as pair:
        yield pair


@pytest.fixture
def primary(pair):
    return pair[0]


@pytest.fixture
def standby(pair):
    """The standby, which replays."""
    yield pair[1]
    with pair[1].connect() as connection:
        connection.execute("SELECT pg_wal_replay_resume()")


class Answers:
    """The servers that the hook names, by their ports."""

    def __init__(self, standby):
        self.all = []
        self._port = standby.port

    def __call__(self, operation):
        if operation.error is None:
            self.all.append("standby" if operation.port == self._port else "primary")

    def of(self, call):
        """Return the servers that answered during a call, and its result."""
        del self.all[:]
        result = call()
        return self.all[:], result


@pytest.fixture
def answers(standby):
    return Answers(standby)


@pytest.fixture
def store(side, primary, standby, answers):
    """A store with a long wait for the standby, so that a busy machine does not send its reads to the primary."""
    with opened(side, primary, standby, hook=answers) as store:
        yield store


@contextmanager
def opened(side, primary, standby, **options):
    settings = {"standby_wait": 5.0, "min_size": 1, "max_size": 1} | options
    with side.connect_store(primary.conninfo, standby=standby.conninfo, **settings) as store:
        with primary.connect() as connection:
            connection.execute("TRUNCATE sessions CASCADE")
        talk = talk_of(store)
        for n in range(4):
            talk.append("assistant", str(n), agent_id="a", message_id=f"m{n}")
        talk.remove_from(3)
        catch_up(primary, standby)
        pool = pool_of(store, standby=True)
        wait_until(lambda: talk_of(store).latest(1) and pool._pool, "the standby's pool has a connection")
        unwrap(store)._backend.standby._rests_until = 0.0
        yield store


def talk_of(store, **options):
    return store.session("talk", user_id="u1", source="s1", parent_id="p1", **options)


def catch_up(primary, standby):
    """Wait until the standby has replayed everything."""
    with primary.connect() as one, standby.connect() as other:
        lsn = one.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        wait_until(
            lambda: other.execute("SELECT pg_last_wal_replay_lsn() >= %s", lsn).fetchone()[0], "the standby caught up"
        )


def pause(standby):
    with standby.connect() as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        wait_until(
            lambda: connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",), "it paused"
        )


def resume(standby):
    with standby.connect() as connection:
        connection.execute("SELECT pg_wal_replay_resume()")


@contextmanager
def statements(*clusters):
    """Collect the names of the query files that each server runs in a block, from its log."""
    sizes = [(one.data / "log").stat().st_size for one in clusters]
    found = [[] for _ in clusters]
    yield found
    for names, cluster, size in zip(found, clusters, sizes, strict=True):
        text = (cluster.data / "log").read_bytes()[size:].decode()
        names.extend(re.findall(r"execute [^:]*: /\* dal:([\w.]+) \*/", text))


def test_every_method_is_in_a_table():
    sessions = {name.split()[0] for name in (*SESSION_READS, *SESSION_WRITES)}
    stores = {name.split()[0] for name in (*STORE_READS, *STORE_WRITES)}
    assert sessions == {name for name in dir(dal.Session) if callable(getattr(dal.Session, name)) and name[0] != "_"}
    assert stores | SENDS_NOTHING == {
        name for name in dir(dal.SessionStore) if callable(getattr(dal.SessionStore, name)) and name[0] != "_"
    }


@pytest.mark.parametrize("read", SESSION_READS)
def test_a_read_of_a_session_is_one_statement_on_the_standby(store, primary, standby, read):
    talk_of(store).latest()
    with statements(primary, standby) as (there, here):
        SESSION_READS[read](talk_of(store))
    assert (there, len(here)) == ([], 1)


@pytest.mark.parametrize("read", STORE_READS)
def test_a_read_of_a_store_is_one_statement_on_the_standby(store, primary, standby, read):
    talk_of(store).latest()
    with statements(primary, standby) as (there, here):
        STORE_READS[read](store)
    assert (there, len(here)) == ([], 1)


def test_nothing_but_reads_is_sent_to_the_standby(store, primary, standby):
    with statements(primary, standby) as (there, here):
        for write in STORE_WRITES.values():
            write(store)
        for name, write in SESSION_WRITES.items():
            session = store.session(f"of {name}")
            session.append_all([NewMessage(role="user", content=str(n), message_id=f"m{n}") for n in range(3)])
            if name == "restore":
                session.trash()
            write(session)
    assert here == []
    assert {"messages.append_all", "messages.stream", "messages.export", "sessions.purge", "sessions.fork"} <= {*there}


def test_a_transaction_reads_from_the_primary(store, primary, standby):
    talk_of(store).latest()
    with statements(primary, standby) as (there, here), store.transaction() as inside:
        inside.session("new").append("user", "x")
        assert len(inside.session("new").latest()) == 1
        assert inside.sessions(limit=1).sessions[0].session_id == "new"
    assert (there, here) == (["messages.append", "messages.latest", "sessions.list"], [])


def test_a_read_takes_one_round_trip_with_and_without_own_writes(store, primary, standby, figure):
    """Own writes add a statement, in the same round trip."""
    talk, trips = talk_of(store), {}
    talk.append("user", "x")
    sessions = {"without own writes": talk_of(store), "with own writes": talk}
    for session in sessions.values():  # psycopg prepares a statement on its sixth execution.
        for _ in range(7):
            session.latest()
    catch_up(primary, standby)
    connection = pool_of(store, standby=True)._pool[0]
    for name, session in sessions.items():
        with wire.watch(connection) as recorded, statements(standby) as (here,):
            session.latest()
        trips[name] = recorded.round_trips
        assert here == ["sessions.position"] * (name == "with own writes") + ["messages.latest"]
    assert trips == {"without own writes": 1, "with own writes": 1}
    figure("round trips of a read from the standby", str(trips))


def test_reads_of_a_paused_standby_may_be_behind(store, answers, standby):
    pause(standby)
    talk_of(store).append("user", "unseen", message_id="unseen")
    assert answers.of(lambda: talk_of(store).message("unseen")) == (["standby"], None)
    assert answers.of(lambda: talk_of(store.on_primary()).message("unseen"))[0] == ["primary"]


@pytest.mark.parametrize("write", SESSION_WRITES)
def test_a_session_object_sees_its_own_writes(side, primary, standby, answers, write):
    """While the standby is paused, each read after each write returns what the primary has."""
    with opened(side, primary, standby, hook=answers, standby_wait=0.02) as store:
        if write == "restore":
            talk_of(store).trash()
        catch_up(primary, standby)
        pause(standby)
        for read in SESSION_READS.values():
            talk = talk_of(store)
            SESSION_WRITES[write](talk)
            served, found = answers.of(lambda read=read, talk=talk: outcome(read, talk))
            assert found == outcome(read, talk_of(store.on_primary()))
            assert served[:1] != ["standby"] or write in {"create", "stream", "fork", "reset", "resume", "restore"}, (
                "a call that changes nothing may be followed by a read from the standby"
            )


def outcome(read, session):
    try:
        return read(session)
    except dal.DalError as error:
        return type(error)


def test_a_session_returns_to_the_standby(store, answers, primary, standby):
    """After a write whose position is not known, the primary answers once, and tells the position."""
    talk = talk_of(store)
    talk.annotate("m1", {"a": 1})
    catch_up(primary, standby)
    assert [answers.of(talk.latest)[0] for _ in range(3)] == [["primary"], ["standby"], ["standby"]]
    talk.append("user", "x")
    catch_up(primary, standby)
    assert answers.of(talk.latest)[0] == ["standby"]


def test_at_least_asks_for_a_message_that_was_written_elsewhere(side, primary, standby, answers):
    with opened(side, primary, standby, hook=answers, standby_wait=0.5) as store:
        pause(standby)
        message = talk_of(store).append("user", "x")

        def latest(number):
            return answers.of(lambda: talk_of(store, at_least=number).latest(1)[0].sequence)

        assert latest(message.sequence - 1) == (["standby"], message.sequence - 2)  # The one before was removed.
        assert latest(message.sequence) == (["primary"], message.sequence)
        resume(standby)
        catch_up(primary, standby)
        assert latest(message.sequence) == (["standby"], message.sequence)
        with pytest.raises(dal.InvalidInput, match="at_least"):
            talk_of(store, at_least=-1)


def test_a_read_waits_for_a_standby_that_is_a_little_behind(store, answers, standby):
    pause(standby)
    talk = talk_of(store)
    message = talk.append("user", "x")
    timer = threading.Timer(0.3, resume, [standby])
    timer.start()
    served, found = answers.of(lambda: talk.latest(1))
    timer.join()
    assert (served, found) == (["standby"], (message,))


def test_the_wait_is_bounded(side, primary, standby, answers):
    with opened(side, primary, standby, hook=answers, standby_wait=0.3) as store:
        pause(standby)
        talk = talk_of(store)
        talk.append("user", "x")
        began = time.monotonic()
        assert answers.of(talk.latest)[0] == ["primary"]
        assert 0.2 < time.monotonic() - began < 3


def test_a_write_whose_outcome_is_unknown_is_seen(store, answers, standby, monkeypatch):
    """It may have been committed, so a read that looks for it must not come from a standby that may be behind."""
    talk, runner = unwrap(talk_of(store)), unwrap(store)._backend.runner
    talk = store._side.wrap(talk) if isinstance(store, Blocking) else talk
    talk.latest()
    pause(standby)
    send = type(runner).send

    def lose_reply(self, *arguments):
        raised = dal.ServerUnavailable("the reply was lost")
        if isinstance(store, Blocking):

            async def lose():
                await send(self, *arguments)
                raise raised

            return lose()
        send(self, *arguments)
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(type(runner), "send", lose_reply)
        with pytest.raises(dal.ServerUnavailable):
            talk.append("user", "x", message_id="in doubt")
    served, found = answers.of(lambda: talk.message("in doubt"))
    assert (served, found.content) == (["primary"], "x")


@pytest.mark.parametrize("view", ["for_user", "writer"])
def test_stores_made_from_a_store_read_from_its_standby(store, answers, primary, standby, view):
    made = store.for_user("u1") if view == "for_user" else store.writer()
    with made:
        talk = talk_of(made)
        message = talk.append("user", "x")
        catch_up(primary, standby)
        assert answers.of(lambda: talk.latest(1)) == (["standby"], (message,))
        assert answers.of(lambda: talk_of(made.on_primary()).latest(1)) == (["primary"], (message,))
        served, outcomes = answers.of(lambda: made.append_all([(unwrap(talk), HELLO)]))
        pause(standby)
        talk.append_all([HELLO])
        resume(standby)
        assert served[-1:] == ["primary"]
        assert talk.latest(1)[0].sequence == outcomes[0].sequence + 1


def test_the_order_of_sessions_ahead_of_the_clock_is_restored(store, answers, primary, standby):
    with primary.connect() as connection:
        connection.execute("UPDATE sessions SET listed_at = '2999-01-01' WHERE session_id = 'talk'")
    store.session("newer").append("user", "x")
    catch_up(primary, standby)
    served, page = answers.of(lambda: store.sessions(limit=1))
    assert served == ["standby", "primary", "primary"]
    assert page.sessions[0].session_id in {"newer", "talk"}
    with primary.connect() as connection:
        assert connection.execute("SELECT count(*) FROM sessions WHERE listed_at > now() + '1 day'").fetchone() == (0,)


def test_both_pools_have_the_settings_and_are_closed(side, primary, standby):
    options = {"timeout": 7.0, "idle_timeout": 11.0, "max_size": 3}
    with opened(side, primary, standby, **options) as store:
        backend = unwrap(store)._backend
        talk_of(store).latest()
        limits = [
            (pool.max_size, pool.connection_class.limit, pool.conninfo.partition("options=")[2])
            for pool in (pool_of(store), pool_of(store, standby=True))
        ]
        assert limits[0] == limits[1]
        assert limits[0][:2] == (3, 7.0)
        assert "statement_timeout=7000" in limits[0][2]
        assert "idle_in_transaction_session_timeout=11000" in limits[0][2]
        assert "port" not in repr([store, backend, backend.standby])
        assert all(1 <= clients(one) <= 3 for one in (primary, standby))
    for cluster in (primary, standby):
        wait_until(lambda cluster=cluster: clients(cluster) == 0, "the connections are closed")
    with pytest.raises(dal.StoreClosed):
        talk_of(store).latest()


def clients(cluster):
    with cluster.connect() as connection:
        return connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
            "AND application_name <> 'harness'"
        ).fetchone()[0]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"standby": "nonsense://secret"}, "standby"),
        ({"standby": "", "standby_wait": 0}, "standby_wait"),
        ({"standby": "", "standby_wait": None}, "standby_wait"),
    ],
)
def test_wrong_settings_are_refused(side, options, argument):
    with pytest.raises(dal.InvalidInput) as error:
        side.connect_store("", **options)
    assert error.value.argument == argument
    assert "secret" not in str(error.value)


@contextmanager
def lock_of_own_writes_held():
    """Hold the lock in another thread. A child process that is forked in this block does not have that thread."""
    held, ended, here = threading.Event(), threading.Event(), os.getpid()

    def hold():
        with own_writes._lock:
            held.set()
            ended.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    if os.getpid() == here:
        ended.set()
        thread.join()


def test_a_child_process_reads_from_the_standby(primary, standby):
    operations = []
    with dal.SessionStore.connect(
        primary.conninfo, standby=standby.conninfo, standby_wait=5.0, hook=operations.append
    ) as store:
        talk = store.session("forked")
        first = talk.append("user", "parent")
        assert talk.latest(1) == (first,)
        with lock_of_own_writes_held():
            child = os.fork()
        if not child:
            signal.alarm(30)  # If the child waits for the lock.
            with suppress(BaseException):
                del operations[:]
                message = talk.append("user", "child")
                is_own = talk.latest(1) == (message,)
                os._exit(0 if is_own and [one.port for one in operations] == [primary.port, standby.port] else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert len(store.session("forked", at_least=1).latest()) == 2


# The standby fails.


def without_port(cluster):
    return make_conninfo(cluster.conninfo, port=free_port())


@pytest.mark.parametrize("kind", ["not there", "without tables", "without a name"])
def test_a_standby_that_cannot_answer_is_left_alone(side, primary, caplog, kind):
    conninfo = {
        "not there": without_port(primary),
        "without tables": make_conninfo(primary.conninfo, dbname="template1"),
        "without a name": "host=nowhere.invalid",
    }[kind]
    with side.connect_store(primary.conninfo, standby=conninfo, standby_wait=0.5) as store:
        session = store.session("alone")
        message = session.append("user", "x")
        began = time.monotonic()
        with caplog.at_level(logging.WARNING, logger="dal"):
            found = [session.latest(1) for _ in range(20)]
        assert found == [(message,)] * 20
        assert time.monotonic() - began < 5, "one read waits for the standby, and the others do not"
    assert [record.message for record in caplog.records if "the standby failed" in record.message][1:] == []


def test_a_standby_that_is_the_primary_is_read(side, primary, answers):
    with side.connect_store(primary.conninfo, standby=primary.conninfo) as store:
        session = store.session()
        message = session.append("user", "x")
        session.annotate(message.message_id, {"a": 1})
        assert session.latest()[0].metadata == {"a": 1}


def test_a_stopped_standby_is_used_again_after_its_start(store, answers, primary, standby):
    talk = talk_of(store)
    assert answers.of(talk.latest)[0] == ["standby"]
    for mode in ("fast", "immediate"):
        standby.stop(mode)
        message = talk.append("user", mode)
        assert answers.of(lambda: talk.latest(1)) == (["primary"], (message,))
        start(standby)
        catch_up(primary, standby)
        wait_until(lambda: answers.of(talk.latest)[0] == ["standby"], "the standby is read again")


def test_a_read_from_a_frozen_standby_ends_in_time(side, primary, standby, answers):
    with opened(side, primary, standby, timeout=2.0, hook=answers, standby_wait=0.5) as store:
        talk = talk_of(store)
        assert answers.of(talk.latest)[0] == ["standby"]
        standby.freeze()
        try:
            began = time.monotonic()
            assert answers.of(talk.latest)[0] == ["primary"]
            assert time.monotonic() - began < 2
            began = time.monotonic()
            assert answers.of(lambda: [talk.latest() for _ in range(5)])[0] == ["primary"] * 5
            assert time.monotonic() - began < 1
        finally:
            standby.thaw()


def test_a_busy_standby_need_not_rest(side, primary, standby, answers):
    """A read that finds no free connection comes from the primary; the next tries the standby if that has answered."""
    with opened(side, primary, standby, hook=answers, standby_wait=0.3) as store:
        router = unwrap(store)._backend.standby
        for has_answered in (True, False):
            with hold(store, router.runner):
                timer = threading.Timer(0.1 if has_answered else 0.0, router._succeeded)
                timer.start()
                timer.join(0.0 if has_answered else 1.0)
                assert answers.of(talk_of(store).latest)[0] == ["primary"]
            assert answers.of(talk_of(store).latest)[0] == ["standby" if has_answered else "primary"]


@contextmanager
def hold(store, runner):
    """Take the only connection of a runner for a block."""
    side = store._side if isinstance(store, Blocking) else None
    with side.wrap(runner.connection()) if side else runner.connection():
        yield


def test_one_read_at_a_time_tries_a_standby_that_does_not_answer(side, primary, standby):
    with opened(side, primary, standby, standby_wait=0.2) as store:
        standby.stop("immediate")
        session, pool = talk_of(store), pool_of(store, standby=True)
        session.latest()
        try:
            for _ in range(2):
                time.sleep(1.1)
                before = pool.get_stats()["requests_num"]
                outcomes = side.call_concurrently([unwrap(session).latest] * 8)
                assert [len(messages) for messages in outcomes] == [3] * 8
                assert pool.get_stats()["requests_num"] - before == 1
        finally:
            start(standby)


@contextmanager
def canceling(standby):
    """In this block, the standby cancels any statement that blocks its replay for 50 ms."""
    standby.set(max_standby_streaming_delay="'50ms'")
    try:
        yield
    finally:
        standby.set(max_standby_streaming_delay="-1")


def test_a_canceled_statement_is_sent_to_the_primary(side, primary, standby, answers, caplog):
    """The startup process cancels a statement that keeps it from replaying a lock (40001)."""
    with (
        canceling(standby),
        opened(side, primary, standby, timeout=20.0, hook=answers) as store,
        psycopg.connect(primary.conninfo) as first,
        psycopg.connect(primary.conninfo) as second,
        primary.connect() as flushing,
        standby.connect() as watching,
    ):

        def lock(connection, table):
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            flushing.execute("SELECT pg_switch_wal()")  # Nothing else would send the lock to the standby.

        def count(query):
            return watching.execute(f"SELECT count(*) FROM {query}").fetchone()[0]

        def interfere():
            try:
                wait_until(lambda: count("pg_locks WHERE NOT granted"), "the read has locked sessions, and waits")
                lock(second, "sessions")
                wait_until(lambda: not count("pg_locks WHERE NOT granted"), "the read was canceled")
            finally:
                second.rollback()
                first.rollback()

        lock(first, "messages")
        wait_until(lambda: count("pg_locks WHERE mode = 'AccessExclusiveLock'"), "the standby has the lock")
        thread = threading.Thread(target=interfere)
        with caplog.at_level(logging.WARNING, logger="dal"):
            thread.start()
            served, found = answers.of(lambda: talk_of(store).open())
            thread.join()
        assert "40001" in caplog.text
        assert (served, found.record.session_id) == (["primary"], "talk")
        catch_up(primary, standby)
        assert answers.of(lambda: talk_of(store).open())[0] == ["standby"], "it need not rest"


def test_a_promoted_standby_shows_own_writes(side):
    """It has become another database, until the primary's connection string leads to it. Own writes tell them apart."""
    with servers() as (primary, standby), opened(side, primary, standby, standby_wait=0.05) as store:
        talk = talk_of(store)
        talk.latest()
        standby.promote()
        message = talk.append("user", "x")
        assert talk.latest(1) == (message,)
        standby.kill()
        assert talk.latest(1) == (message,)


# All at once.


class Chaos:
    """Pauses, resumes, stops and starts the standby until the end of the block."""

    def __init__(self, standby, tally):
        self._standby = standby
        self._tally = tally
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._rounds = 0

    @property
    def is_over(self):
        """True after two rounds, or more until a read was stale that may be; also if one has failed."""
        enough = 2 if self._tally.counts["not asked for", "stale"] else 10
        return self._rounds >= enough or not self._thread.is_alive()

    def _run(self):
        while not self._ended.is_set():
            pause(self._standby)
            time.sleep(0.4)
            resume(self._standby)
            time.sleep(0.4)
            self._standby.stop("immediate")
            start(self._standby)
            self._rounds += 1
            time.sleep(1.5)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join(60)


class Tally:
    """Counts the reads by the server that answered, and those that lacked a message."""

    def __init__(self, standby):
        self.counts = Counter()
        self._answers = Answers(standby)
        self._server = threading.local()

    def hook(self, operation):
        if operation.query == "messages.get" and operation.error is None:
            server = "standby" if operation.port == self._answers._port else "primary"
            self._server.last = server

    def count(self, kind, found):
        self.counts[kind, self._server.last] += 1
        self.counts[kind, "stale"] += found is None

    def __str__(self):
        return "; ".join(
            f"{kind}: {self.counts[kind, 'standby']} from the standby, {self.counts[kind, 'primary']} from the "
            f"primary, {self.counts[kind, 'stale']} stale"
            for kind in ("asked for", "not asked for")
        )


SECONDS = 6.0


def test_no_thread_reads_stale_rows_while_the_standby_fails(primary, standby, figure):
    tally, errors = Tally(standby), []
    with (
        dal.SessionStore.connect(
            primary.conninfo, standby=standby.conninfo, standby_wait=0.05, hook=tally.hook
        ) as store,
        Chaos(standby, tally) as chaos,
    ):
        shared, ends = store.session("shared by threads"), time.monotonic() + SECONDS

        def work(n):
            own = store.session(f"of thread {n}")
            try:
                while time.monotonic() < ends or not chaos.is_over:
                    for session in (own, shared):
                        sent = session.append("user", "x")
                        tally.count("asked for", session.message(sent.message_id))
                        other = store.session(session.id, at_least=sent.sequence)
                        tally.count("asked for", other.message(sent.message_id))
                        tally.count("not asked for", store.session(session.id).message(sent.message_id))
            except Exception as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
    check(tally, errors)
    figure("reads by threads while the standby is paused and stopped", str(tally))


def test_no_task_reads_stale_rows_while_the_standby_fails(primary, standby, figure):
    tally, errors = Tally(standby), []

    async def work(store, n, shared, is_over):
        own = store.session(f"of task {n}")
        try:
            while not is_over():
                for session in (own, shared):
                    sent = await session.append("user", "x")
                    tally.count("asked for", await read(session, sent))
                    tally.count("asked for", await read(store.session(session.id, at_least=sent.sequence), sent))
                    tally.count("not asked for", await read(store.session(session.id), sent))
        except Exception as error:
            errors.append(error)
            raise

    async def read(session, sent):
        return await session.message(sent.message_id)

    async def main():
        async with dal.AsyncSessionStore.connect(
            primary.conninfo, standby=standby.conninfo, standby_wait=0.05, hook=tally.hook
        ) as store:
            with Chaos(standby, tally) as chaos:
                ends, shared = time.monotonic() + SECONDS, store.session("shared by tasks")
                calls = [work(store, n, shared, lambda: time.monotonic() > ends and chaos.is_over) for n in range(8)]
                await asyncio.gather(*calls)

    asyncio.run(main())
    check(tally, errors)
    figure("reads by tasks while the standby is paused and stopped", str(tally))


def check(tally, errors):
    assert not errors
    assert tally.counts["asked for", "stale"] == 0
    assert tally.counts["not asked for", "stale"] > 0, "the test can tell"
    assert tally.counts["asked for", "standby"] > 0
    assert tally.counts["asked for", "primary"] > 0


def test_the_share_of_reads_from_the_primary_while_the_standby_is_paused(side, primary, standby, answers, figure):
    with opened(side, primary, standby, hook=answers, standby_wait=0.25) as store:
        pause(standby)
        shares = {}
        for kind in ("own writes", "none"):
            served = []
            for n in range(12):
                session = store.session(f"{kind} {n}")
                session.append("user", "x")
                reader = session if kind == "own writes" else store.session(session.id)
                served += answers.of(reader.latest)[0]
            shares[kind] = served.count("primary") / len(served)
    assert shares == {"own writes": 1.0, "none": 0.0}
    figure("share of reads from the primary while the standby is paused", str(shares))
