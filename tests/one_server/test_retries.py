"""Retries and deadlines; tests/faults injects the faults under load."""

import threading
import time
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg_pool import PoolTimeout
from sides import unwrap

import dal
from dal.driver_errors import translate
from dal.retries import Attempts, Failure, classify
from dal.schema.check import SchemaCheck

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def pooled(side, server, schema, tables):
    """A store with a pool of one connection, which `kill` terminates."""
    conninfo = make_conninfo(server.conninfo, application_name=schema)
    with side.connect_store(conninfo, schema=schema, max_size=1) as store:
        store.check_schema()
        yield store


@pytest.fixture
def kill(connection, schema):
    """Terminate the store's connection."""

    def kill():
        killed = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", [schema]
        )
        assert killed.fetchall() == [(True,)]

    return kill


RETRIED = {
    # name: (a call of a session with one message, next_sequence afterwards)
    "append": (lambda session: session.append("user", "x"), 2),
    "append_all": (lambda session: session.append_all([dal.NewMessage(role="user", content="x")] * 2), 3),
    "latest": (lambda session: session.latest(), 1),
    "remove_from": (lambda session: session.remove_from(0), 1),
    "remove_last": (lambda session: session.remove_last(), 1),
    "replace_from": (lambda session: session.replace_from(0, [dal.NewMessage(role="user", content="x")] * 2), 3),
    "update_metadata": (lambda session: session.update_metadata({"title": "x"}), 1),
    "annotate": (lambda session: session.annotate(session.latest(1)[0].message_id, {"rating": 5}), 1),
    "redact": (lambda session: session.redact(session.latest(1)[0].message_id), 1),
    "append with conditions": (lambda session: session.append("u", "x", if_next=1, session_metadata={"a": 1}), 2),
    "pause": (lambda session: session.pause(), 1),
    "archive": (lambda session: session.archive(), 1),
    "fork": (lambda session: session.fork(), 1),
    "create": (lambda session: session.create(), 1),
    "trash": (lambda session: session.trash(), 1),
    "restore": (lambda session: session.restore(), 1),
    "reset": (lambda session: session.reset(), 1),
    "agent_ids": (lambda session: session.agent_ids(), 1),
}


@pytest.mark.parametrize("name", RETRIED)
def test_an_operation_is_applied_once_after_a_lost_connection(pooled, kill, name):
    operation, next_sequence = RETRIED[name]
    session = pooled.session("s")
    session.append("user", "hello")
    kill()
    operation(session)
    assert session.record().next_sequence == next_sequence


@pytest.mark.parametrize(
    "operation",
    [
        lambda store: store.delete_idle(LONG_AGO),
        lambda store: store.purge(LONG_AGO),
        lambda store: store.erase_user("nobody"),
    ],
    ids=["delete_idle", "purge", "erase_user"],
)
def test_the_outcome_of_a_deletion_is_unknown_after_a_lost_connection(pooled, kill, operation):
    pooled.session("s").append("user", "hello")
    kill()
    with pytest.raises(dal.ServerUnavailable, match="may have been committed") as refused:
        operation(pooled)
    assert refused.value.outcome_unknown
    assert pooled.session("s").record().message_count == 1


def test_a_delete_is_repeated_after_a_lost_connection(pooled, kill):
    session = pooled.session("s")
    session.append("user", "hello")
    kill()
    assert session.delete() is True
    kill()
    assert session.delete() is True
    with pytest.raises(dal.SessionDeleted):
        session.record()


@pytest.fixture
def fail_after(pooled, kill, monkeypatch):
    """Let the store's connection die, and only some more statements get one; the next fails with an error."""

    def fail_after(statements, error):
        kill()
        source, taken = pooled._backend.runner.source, []
        take = source.take

        def take_some(deadline):
            taken.append(deadline)
            if len(taken) > statements:
                raise error
            return take(deadline)

        monkeypatch.setattr(source, "take", take_some)

    return fail_after


NEXT_ERRORS = pytest.mark.parametrize(
    "then", [PoolTimeout("none is free"), errors.DiskFull("no room")], ids=["no connection", "refused"]
)


@NEXT_ERRORS
def test_an_unknown_outcome_stays_unknown_when_a_retry_fails(pooled, fail_after, then):
    pooled.session("s").append("user", "hello")
    fail_after(1, then)
    with pytest.raises(dal.ServerUnavailable, match="no.*may have been committed") as error:
        pooled.session("s").append("user", "x", message_id="m")
    assert error.value.outcome_unknown
    assert error.value.message_ids == ("m",)


@NEXT_ERRORS
@pytest.mark.parametrize(("name", "statements"), [("delete", 2), ("fork", 2), ("fork", 3)])
def test_an_unknown_outcome_stays_unknown_when_the_read_after_a_retry_fails(
    pooled, fail_after, *, name, statements, then
):
    """The retry finds that it is done, by the lost attempt or by someone else, and reads which."""
    session = pooled.session("s")
    session.append("user", "hello")
    operation = session.delete if name == "delete" else lambda: session.fork(session_id="fork")
    operation()
    fail_after(statements, then)
    with pytest.raises(dal.ServerUnavailable, match="no.*may have been committed") as error:
        operation()
    assert error.value.outcome_unknown


@pytest.mark.one_server  # The setting does not reach the workers.
def test_the_outcome_is_known_if_a_read_only_server_refused(side, server, schema, tables):
    conninfo = make_conninfo(server.conninfo, options=f"-c search_path={schema} -c default_transaction_read_only=on")
    with side.connect_store(conninfo, retries=0) as store, pytest.raises(dal.DalError) as refused:
        store.session("s").append("user", "x")
    assert (type(refused.value), refused.value.sqlstate) == (dal.ServerUnavailable, "25006")
    assert refused.value.outcome_unknown is False


def test_the_outcome_is_known_if_the_connection_was_lost_before_the_statement(side, server, schema, tables, kill):
    """The connection is lost during the schema check, before the statement."""
    conninfo = make_conninfo(server.conninfo, application_name=schema)
    with side.connect_store(conninfo, schema=schema, max_size=1, retries=0) as store:
        store.check_schema()
        kill()
        unwrap(store)._backend.runner.schema = SchemaCheck()
        with pytest.raises(dal.DalError) as error:
            store.session("s").append("user", "x", message_id="m")
    assert type(error.value) is dal.ServerUnavailable
    assert error.value.outcome_unknown is False
    assert error.value.message_ids == ("m",)


def test_a_transaction_begins_on_a_live_connection(pooled, kill):
    pooled.session("s").append("user", "hello")
    kill()
    with pooled.transaction() as tx:
        assert tx.session("s").append("user", "and now?").sequence == 1


def test_nothing_is_retried_within_a_transaction(pooled, kill):
    session = pooled.session("s")
    session.append("user", "hello")
    with pytest.raises(dal.ServerUnavailable), pooled.transaction() as tx:
        tx.session("s").append("user", "a")
        kill()
        tx.session("s").append("user", "b")
    assert session.record().next_sequence == 1


@pytest.mark.one_server  # The deadlock_timeout does not reach the workers, so the other transaction may be ended.
def test_a_deadlock_in_a_callers_transaction_says_to_run_it_again(side, server, options, tables, connect):
    setup = dal.SessionStore(connect())
    for name in "ab":
        setup.session(name).append("user", "x")
    mine, other = side.connect(server.conninfo, **options | {"autocommit": False}), connect(autocommit=False)
    mine.execute("SET LOCAL deadlock_timeout = '10ms'")
    store = side.store(mine)
    store.session("a").append("user", "1")
    dal.SessionStore(other).session("b").append("user", "1")
    thread = threading.Thread(target=lambda: dal.SessionStore(other).session("a").append("user", "2"))
    thread.start()
    time.sleep(0.2)
    with pytest.raises(dal.StatementFailed, match="deadlock.*run it again from its beginning"):
        store.session("b").append("user", "2")
    mine.close()
    thread.join()
    other.close()


def test_a_retried_removal_does_not_remove_later_messages(connection, tables, form):
    remove_from = form(dal.queries.messages.remove_from)
    session = dal.SessionStore(connection).session("s")
    for n in range(5):
        session.append("user", str(n))
    removal = {"session_id": "s", "sequence": 2, "change_id": "r1", "keep": True, "if_next": None}
    first = remove_from(connection, **removal)
    session.append("user", "since")
    assert remove_from(connection, **removal) == first
    assert [message.content for message in session.latest()] == ["0", "1", "since"]
    session.archive()
    assert remove_from(connection, **removal) == first, "the removal was already applied"


def test_a_statement_that_the_server_cancels_at_the_deadline_has_exceeded_it(server, schema, tables, monkeypatch):
    def wait(_connection, _statement, _interval, seconds):
        time.sleep(seconds)
        raise psycopg.errors.QueryCanceled("canceling statement due to statement timeout")

    with dal.SessionStore.connect(server.conninfo, schema=schema, timeout=0.5) as store:
        store.check_schema()
        monkeypatch.setattr("psycopg.Connection.wait", wait)
        with pytest.raises(dal.DeadlineExceeded) as error:
            store.session("s").append("user", "x")
        assert error.value.outcome_unknown is False
        monkeypatch.undo()


def test_the_deadline_ends_a_call_that_waits_for_a_lock(side, server, schema, tables, connect):
    dal.SessionStore(connect()).session("s").append("user", "0")
    holder = connect(autocommit=False)
    dal.SessionStore(holder).session("s").append("user", "1")
    with side.connect_store(server.conninfo, schema=schema, timeout=0.5) as store:
        began = time.monotonic()
        with pytest.raises(dal.DeadlineExceeded, match="raise the store's timeout") as error:
            store.session("s").append("user", "2", message_id="m2")
        assert 0.4 < time.monotonic() - began < 5
        assert isinstance(error.value, TimeoutError)
        assert error.value.message_ids == ("m2",)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND query LIKE '/* dal:messages.append */%%' AND datname = current_database()"
        )
        deadline = time.monotonic() + 5
        while holder.execute(waiting).fetchone() != (0,):  # The server ends the statement too.
            assert time.monotonic() < deadline
            time.sleep(0.02)
        holder.commit()
        assert store.session("s").append("user", "2", message_id="m2").sequence == 2
    holder.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.DeadlockDetected, Failure.UNDONE),
        (errors.SerializationFailure, Failure.UNDONE),
        (errors.ReadOnlySqlTransaction, Failure.STALE),
        (errors.CannotConnectNow, Failure.UNDONE),
        (errors.TooManyConnections, Failure.UNDONE),
        (errors.UniqueViolation, Failure.UNDONE),
        (errors.AdminShutdown, Failure.UNKNOWN),
        (errors.CrashShutdown, Failure.UNKNOWN),
        (errors.IdleSessionTimeout, Failure.UNDONE),
        (errors.IdleInTransactionSessionTimeout, Failure.REFUSED),
        (errors.ConnectionFailure, Failure.UNKNOWN),
        (psycopg.OperationalError, Failure.UNKNOWN),
        (errors.QueryCanceled, Failure.REFUSED),
        (errors.LockNotAvailable, Failure.REFUSED),
        (errors.DiskFull, Failure.REFUSED),
        (errors.InsufficientPrivilege, Failure.REFUSED),
        (psycopg.InterfaceError, Failure.REFUSED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_errors_are_classified(error, expected):
    assert classify(error("")) is expected


@pytest.mark.parametrize(
    ("error", "message", "expected"),
    [
        (errors.InternalError_, "server closed the connection unexpectedly", Failure.UNKNOWN),
        (errors.InternalError_, "unrecognized node type: 0", Failure.REFUSED),
        (errors.IoError, "failed to COPY to shard 102008 on worker1:5432", Failure.UNKNOWN),
        (errors.IoError, "could not read block 1 in file", Failure.REFUSED),
    ],
)
def test_a_lost_node_of_a_cluster_is_recognised_by_its_message(error, message, expected):
    assert classify(error(message)) is expected
    kind = dal.ServerUnavailable if expected is Failure.UNKNOWN else dal.StatementFailed
    assert type(translate(error(message), "messages.append")) is kind


@pytest.mark.one_server
def test_a_schema_check_is_repeated_if_an_index_was_dropped_during_it(server, schema, connection, caplog):
    """PostgreSQL then says `cache lookup failed for relation 80848`, in one check of several hundred."""
    over, failed = threading.Event(), []

    def check(store):
        try:
            while not over.is_set():
                store.check_schema()
        except dal.DalError as error:
            failed.append(error)

    with dal.SessionStore.connect(server.conninfo, schema=schema, max_size=3) as store:
        threads = [threading.Thread(target=check, args=(store,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while "schema.check: InternalError_ (XX000), tried again" not in caplog.text and not failed:
            assert time.monotonic() < deadline
            connection.execute("CREATE INDEX another ON sessions (created_at)")
            connection.execute("DROP INDEX CONCURRENTLY another")
        over.set()
        for thread in threads:
            thread.join()
    assert failed == []


def test_pauses_between_retries(monkeypatch):
    monkeypatch.setattr("dal.retries.uniform", lambda _, longest: longest)
    attempts = Attempts(9, None)
    pauses = [attempts.pause() for _ in range(10)]
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0, None]
    assert Attempts(0, None).pause() is None
    assert Attempts(9, time.monotonic() + 0.01).pause() is None, "the deadline is earlier"
