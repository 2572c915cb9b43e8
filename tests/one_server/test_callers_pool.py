"""A pool of the caller's with the store's deadline and retries, and the store's connections for a service's own SQL."""

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
"""Seconds after which a call has missed its deadline: generous, where the broken code would wait for good."""


@pytest.fixture(params=[True, False], ids=["autocommit", "transactions"])
def pool(request, side, server, options, tables):
    settings = options | {"autocommit": request.param, "application_name": "callers"}
    with side.pool(server.conninfo, kwargs=settings, min_size=2, max_size=2) as pool:
        yield pool


@contextmanager
def in_time():
    began = time.monotonic()
    yield
    assert TIMEOUT * 0.9 < time.monotonic() - began < LATE


def is_clean(side, pool):
    """All of the pool's connections are there, idle, and wait as long as their own settings say."""
    with pool.connection() as one, pool.connection() as other:
        for connection in map(unwrap, (one, other)):
            assert connection.info.transaction_status == TransactionStatus.IDLE
            assert "wait" not in vars(connection)
            assert connection.row_factory is psycopg.rows.tuple_row
    return True


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
def test_the_deadline_holds_on_plain_connections(side, pool, connection, operation):
    patient = side.store(pool)
    patient.session("s").append("user", "x")
    with connection.transaction():
        connection.execute("LOCK messages, sessions IN ACCESS EXCLUSIVE MODE")
        with in_time(), pytest.raises(dal.DeadlineExceeded, match="no reply came in time"):
            OPERATIONS[operation](side.store(pool, timeout=TIMEOUT, retries=0))
    assert is_clean(side, pool)
    patient.session("s").append("user", "y")


SLEEP_AT_COMMIT = """CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION sleep()"""


@pytest.mark.parametrize("pool", [False], indirect=True)
def test_the_deadline_holds_at_a_commit(side, pool, connection):
    store = side.store(pool, timeout=TIMEOUT, retries=0)
    store.check_schema()
    connection.execute(SLEEP_AT_COMMIT)
    with in_time(), pytest.raises(dal.DeadlineExceeded) as late:
        store.session("s").append("user", "x")
    assert late.value.outcome_unknown
    assert is_clean(side, pool)


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_deadline_holds_when_the_server_hangs(side, server, schema, tables, autocommit):
    settings = {"autocommit": autocommit, "options": f"-c search_path={schema}"}
    with Proxy(server.conninfo) as proxy:
        with side.pool(proxy.conninfo, kwargs=settings, min_size=1, max_size=1) as pool:
            store, brief = side.store(pool), side.store(pool, timeout=TIMEOUT, retries=0)
            store.session("s").append("user", "x")
            brief.check_schema()
            proxy.silent = True
            with in_time(), pytest.raises(dal.DeadlineExceeded) as late:
                brief.session("s").append("user", "y", message_id="m")
            assert (late.value.outcome_unknown, late.value.message_ids) == (True, ("m",))
            proxy.silent = False
            assert store.session("s").append("user", "y", message_id="m").sequence == 1


def test_the_deadline_holds_while_no_connection_is_free(side, pool):
    """Although the pool would wait for 30 seconds."""
    store = side.store(pool, timeout=TIMEOUT)
    with store.connection(), store.connection():
        for operation in ("append", "own SQL"):
            with in_time(), pytest.raises(dal.ServerUnavailable, match="no connection was free"):
                OPERATIONS[operation](store)
    assert is_clean(side, pool)


def test_a_connection_of_the_callers_is_closed_at_the_deadline(side, server, options, tables, connection):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw, timeout=TIMEOUT, retries=0)
    store.session("s").latest()
    assert "wait" not in vars(unwrap(raw))
    with connection.transaction():
        connection.execute("LOCK messages")
        with in_time(), pytest.raises(dal.DeadlineExceeded):
            store.session("s").append("user", "y")
    assert raw.closed


def test_retries_are_as_many_as_the_store_says(side, pool, connection):
    """All connections were lost, and the next attempt takes another one of them."""
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
def test_what_is_no_timeout_or_number_is_refused(side, server, argument, value):
    raw = side.connect(server.conninfo)
    with pytest.raises(dal.InvalidInput, match=argument):
        side.store(raw, **{argument: value})
    raw.close()


@pytest.fixture(params=["own pool", "autocommit", "transactions", "connection"])
def lending(request, side, server, options, tables):
    """A store by each way that it can be made."""
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


def test_a_service_runs_its_own_sql_on_the_stores_connection(lending, connection):
    with lending.connection() as lent:
        lent.execute("CREATE TABLE bills (cents int)")
        lent.execute("INSERT INTO bills VALUES (3)")
    assert connection.execute("SELECT cents FROM bills").fetchall() == [(3,)], "it is committed"
    lending.session("s").append("user", "x")
    assert own_sql(lending, "SELECT count(*) FROM messages") == [(1,)]


def test_errors_of_its_own_sql_pass_as_they_are(lending, connection):
    own_sql(lending, "SELECT 1")
    for error, operation in (
        (psycopg.errors.InvalidTextRepresentation, lambda lent: lent.execute("SELECT 'planted'::int")),
        (KeyError, lambda lent: {}["x"]),
    ):
        with pytest.raises(error) as refused, lending.connection() as lent:
            operation(lent)
        assert "planted" in str(refused.value) or error is KeyError
    assert own_sql(lending, "SELECT 1") == [(1,)]
    with pytest.raises(ZeroDivisionError), lending.connection() as lent:
        with lent.transaction():
            lent.execute("CREATE TABLE gone ()")
            _ = 1 / 0
    assert connection.execute("SELECT to_regclass('gone')").fetchone() == (None,)


def test_it_is_given_back_clean(store):
    for row_factory, leave in ((dict_row, "SELECT 1"), (psycopg.rows.tuple_row, "BEGIN")):
        with store.connection() as lent:
            lent.row_factory = row_factory
            lent.execute(leave)
    for _ in range(2):
        with store.connection() as lent:
            assert lent.autocommit
            assert unwrap(lent).row_factory is psycopg.rows.tuple_row
            assert lent.info.transaction_status == TransactionStatus.IDLE
            lent.set_autocommit(False)
            lent.execute("CREATE TABLE IF NOT EXISTS bills ()")
    assert own_sql(store, "SELECT to_regclass('bills')::text") == [("bills",)]


def test_within_a_transaction_it_is_the_transactions(store, connection):
    with pytest.raises(ZeroDivisionError), store.transaction() as inside:
        inside.session("s").append("user", "x")
        with inside.connection() as lent:
            assert lent.execute("SELECT count(*) FROM messages").fetchone() == (1,)
            lent.execute("CREATE TABLE bills ()")
        _ = 1 / 0
    assert connection.execute("SELECT to_regclass('bills'), count(*) FROM messages").fetchone() == (None, 0)


def test_a_store_that_is_confined_to_a_user_lends_none(store):
    for confined in (store.for_user("u1"), store.writer().for_user("u1")):
        with pytest.raises(dal.StatementFailed, match="SQL of your own cannot be confined to a user"):
            own_sql(confined, "SELECT 1")


def test_a_closed_store_lends_none(side, server, schema, tables):
    with side.connect_store(server.conninfo, schema=schema) as store:
        pass
    with pytest.raises(dal.StoreClosed):
        own_sql(store, "SELECT 1")


def test_its_own_sql_has_the_stores_deadline(side, server, schema, connection):
    conninfo = make_conninfo(server.conninfo, options="-c statement_timeout=0")
    with side.connect_store(conninfo, schema=schema, timeout=2.0, max_size=1) as store:
        with pytest.raises(dal.DeadlineExceeded) as late:
            own_sql(store, "SELECT pg_sleep(20)")
        assert late.value.outcome_unknown
        assert own_sql(store, "SELECT 1") == [(1,)]
