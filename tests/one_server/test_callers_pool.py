"""Stores on a caller's pool, with deadline and retries, and `store.connection()` for the caller's own SQL."""

import time
from contextlib import contextmanager

import psycopg
import pytest
from faults.proxy import Proxy
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from sides import unwrap

import dal

TIMEOUT = 0.5
LATE = 10
"""Seconds after which a deadline counts as missed; generous, since a faulty store would wait forever."""


@pytest.fixture(params=[True, False], ids=["autocommit", "transactions"])
def pool(request, side, server, options, tables):
    settings = options | {"autocommit": request.param, "application_name": "callers"}
    with side.pool(server.conninfo, kwargs=settings, min_size=2, max_size=2) as pool:
        yield pool


@contextmanager
def at_the_deadline():
    began = time.monotonic()
    yield
    assert TIMEOUT * 0.9 < time.monotonic() - began < LATE


def assert_clean(side, pool):
    """Assert that both connections of the pool are idle, and have their own settings."""
    with pool.connection() as one, pool.connection() as other:
        for connection in map(unwrap, (one, other)):
            assert connection.info.transaction_status == TransactionStatus.IDLE
            assert "wait" not in vars(connection)
            assert connection.row_factory is psycopg.rows.tuple_row


OPERATIONS = {
    "append": lambda store: store.session("s").append("user", "x"),
    "latest": lambda store: store.session("s").latest(),
    "transaction": lambda store: in_transaction(store),
    "stream": lambda store: list(store.session("s").stream()),
    "export": lambda store: list(store.export()),
    "own SQL": lambda store: own_sql(store, "SELECT count(*) FROM messages"),
}


def in_transaction(store):
    with store.transaction() as inside:
        inside.session("s").append("user", "x")


def own_sql(store, statement):
    with store.connection() as connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize("pool", [True], indirect=True)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_deadline_ends_a_call_that_waits_for_a_lock(side, pool, connection, operation):
    store_without_limit = side.store(pool)
    store_without_limit.session("s").append("user", "x")
    with connection.transaction():
        connection.execute("LOCK messages, sessions IN ACCESS EXCLUSIVE MODE")
        with at_the_deadline(), pytest.raises(dal.DeadlineExceeded, match="no reply came in time"):
            OPERATIONS[operation](side.store(pool, timeout=TIMEOUT, retries=0))
    assert_clean(side, pool)
    store_without_limit.session("s").append("user", "y")


SLEEP_AT_COMMIT = """CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION sleep()"""


@pytest.mark.parametrize("pool", [False], indirect=True)
@pytest.mark.one_server  # Citus has no triggers on distributed tables.
def test_the_deadline_ends_a_slow_commit(side, pool, connection):
    store = side.store(pool, timeout=TIMEOUT, retries=0)
    store.check_schema()
    connection.execute(SLEEP_AT_COMMIT)
    with at_the_deadline(), pytest.raises(dal.DeadlineExceeded) as error:
        store.session("s").append("user", "x")
    assert error.value.outcome_unknown
    assert_clean(side, pool)


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_deadline_ends_a_call_while_the_server_hangs(side, server, schema, tables, autocommit):
    settings = {"autocommit": autocommit, "options": f"-c search_path={schema}"}
    with Proxy(server.conninfo) as proxy:
        with side.pool(proxy.conninfo, kwargs=settings, min_size=1, max_size=1) as pool:
            store, impatient = side.store(pool), side.store(pool, timeout=TIMEOUT, retries=0)
            store.session("s").append("user", "x")
            impatient.check_schema()
            proxy.silent = True
            with at_the_deadline(), pytest.raises(dal.DeadlineExceeded) as error:
                impatient.session("s").append("user", "y", message_id="m")
            assert (error.value.outcome_unknown, error.value.message_ids) == (True, ("m",))
            proxy.silent = False
            assert store.session("s").append("user", "y", message_id="m").sequence == 1


def test_the_deadline_ends_a_call_while_no_connection_is_free(side, pool):
    """The pool itself would wait for 30 seconds."""
    store = side.store(pool, timeout=TIMEOUT)
    with store.connection(), store.connection():
        for operation in ("append", "own SQL"):
            with at_the_deadline(), pytest.raises(dal.ServerUnavailable, match="no connection was free"):
                OPERATIONS[operation](store)
    assert_clean(side, pool)


def test_a_callers_connection_is_closed_at_the_deadline(side, server, options, tables, connection):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw, timeout=TIMEOUT, retries=0)
    store.session("s").latest()
    assert "wait" not in vars(unwrap(raw))
    with connection.transaction():
        connection.execute("LOCK messages")
        with at_the_deadline(), pytest.raises(dal.DeadlineExceeded):
            store.session("s").append("user", "y")
    assert raw.closed


def test_the_number_of_retries_is_configurable(side, pool, connection):
    """All connections are dead, and each attempt takes another one."""
    for retries, succeeds in ((0, False), (5, True)):
        store = side.store(pool, timeout=20.0, retries=retries)
        store.check_schema()
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'callers'"
        )
        if succeeds:
            assert store.session().append("user", "x").sequence == 0
        else:
            with pytest.raises(dal.ServerUnavailable):
                store.session().append("user", "x")


@pytest.mark.parametrize(
    ("argument", "value"), [("timeout", 0), ("timeout", -1), ("timeout", "1"), ("retries", -1), ("retries", None)]
)
def test_invalid_timeouts_and_retries_are_refused(side, server, argument, value):
    raw = side.connect(server.conninfo)
    with pytest.raises(dal.InvalidInput, match=argument):
        side.store(raw, **{argument: value})
    raw.close()


@pytest.fixture(params=["own pool", "autocommit", "transactions", "connection"])
def any_store(request, side, server, options, tables):
    """A store, created in each way."""
    if request.param == "own pool":
        with side.connect_store(make_conninfo(server.conninfo, options=options["options"]), max_size=1) as store:
            yield store
    elif request.param == "connection":
        raw = side.connect(server.conninfo, **options)
        yield side.store(raw)
        raw.close()
    else:
        settings = options | {"autocommit": request.param == "autocommit"}
        with side.pool(server.conninfo, kwargs=settings, min_size=1, max_size=1) as pool:
            yield side.store(pool)


def test_own_sql_runs_on_the_stores_connection(any_store, connection):
    with any_store.connection() as borrowed:
        borrowed.execute("CREATE TABLE bills (cents int)")
        borrowed.execute("INSERT INTO bills VALUES (3)")
    assert connection.execute("SELECT cents FROM bills").fetchall() == [(3,)], "the SQL is committed"
    any_store.session("s").append("user", "x")
    assert own_sql(any_store, "SELECT count(*) FROM messages") == [(1,)]


def test_errors_of_own_sql_are_not_changed(any_store, connection):
    own_sql(any_store, "SELECT 1")
    for error, operation in (
        (psycopg.errors.InvalidTextRepresentation, lambda borrowed: borrowed.execute("SELECT 'planted'::int")),
        (KeyError, lambda borrowed: {}["x"]),
    ):
        with pytest.raises(error) as refused, any_store.connection() as borrowed:
            operation(borrowed)
        assert "planted" in str(refused.value) or error is KeyError
    assert own_sql(any_store, "SELECT 1") == [(1,)]
    with pytest.raises(ZeroDivisionError), any_store.connection() as borrowed:
        with borrowed.transaction():
            borrowed.execute("CREATE TABLE gone ()")
            _ = 1 / 0
    assert connection.execute("SELECT to_regclass('gone')").fetchone() == (None,)


def test_a_borrowed_connection_is_reset(store):
    for row_factory, leave in ((dict_row, "SELECT 1"), (psycopg.rows.tuple_row, "BEGIN")):
        with store.connection() as borrowed:
            borrowed.row_factory = row_factory
            borrowed.execute(leave)
    for _ in range(2):
        with store.connection() as borrowed:
            assert borrowed.autocommit
            assert unwrap(borrowed).row_factory is psycopg.rows.tuple_row
            assert borrowed.info.transaction_status == TransactionStatus.IDLE
            borrowed.set_autocommit(False)
            borrowed.execute("CREATE TABLE IF NOT EXISTS bills ()")
    assert own_sql(store, "SELECT to_regclass('bills')::text") == [("bills",)]


def test_in_a_transaction_own_sql_is_part_of_it(store, connection):
    with pytest.raises(ZeroDivisionError), store.transaction() as inside:
        inside.session("s").append("user", "x")
        with inside.connection() as borrowed:
            assert borrowed.execute("SELECT count(*) FROM messages").fetchone() == (1,)
            borrowed.execute("CREATE TABLE bills ()")
        _ = 1 / 0
    assert connection.execute("SELECT to_regclass('bills'), count(*) FROM messages").fetchone() == (None, 0)


def test_a_confined_store_refuses_own_sql(store):
    for confined in (store.for_user("u1"), store.writer().for_user("u1")):
        with pytest.raises(dal.StatementFailed, match="SQL of your own cannot be confined to a user"):
            own_sql(confined, "SELECT 1")


def test_a_closed_store_refuses_own_sql(side, server, schema, tables):
    with side.connect_store(server.conninfo, schema=schema) as store:
        pass
    with pytest.raises(dal.StoreClosed):
        own_sql(store, "SELECT 1")


def test_own_sql_has_the_stores_deadline(side, server, schema, connection):
    conninfo = make_conninfo(server.conninfo, options="-c statement_timeout=0")
    with side.connect_store(conninfo, schema=schema, timeout=2.0, max_size=1) as store:
        with pytest.raises(dal.DeadlineExceeded) as error:
            own_sql(store, "SELECT pg_sleep(20)")
        assert error.value.outcome_unknown
        assert own_sql(store, "SELECT 1") == [(1,)]
