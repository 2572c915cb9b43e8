"""Callers' connections, pools and transactions."""

import threading

import psycopg
import pytest
from psycopg.rows import dict_row

import dal
from dal import NewMessage


@pytest.fixture
def raw(side, server, options, tables):
    connection = side.connect(server.conninfo, **options | {"autocommit": False})
    yield connection
    connection.close()


def test_a_transaction_commits_at_its_end(store, connection):
    with store.transaction() as inside:
        session = inside.session("s", user_id="u1")
        session.append("user", "x")
        session.append_all([NewMessage(role="user", content="y")])
        assert session.agent_ids() == ()
        assert connection.execute("SELECT FROM sessions").fetchall() == []
    assert store.session("s").record().message_count == 2


def test_a_failed_transaction_is_rolled_back(store):
    with pytest.raises(ZeroDivisionError), store.transaction() as inside:
        inside.session("s").append("user", "x")
        raise ZeroDivisionError
    with pytest.raises(dal.SessionNotFound):
        store.session("s").record()


def test_a_refusal_does_not_end_a_transaction(store):
    store.session("over").append("user", "x")
    store.session("over").archive()
    with store.transaction() as inside:
        with pytest.raises(dal.SessionArchived):
            inside.session("over").append("user", "y")
        inside.session("s").append("user", "x")
    assert store.session("s").record().message_count == 1


def test_a_transaction_cannot_be_used_after_its_end(store):
    with store.transaction() as inside:
        session = inside.session()
        session.append("user", "x")
    with pytest.raises(dal.StoreClosed, match="this transaction has ended"):
        session.append("user", "y")


def test_transactions_can_be_nested(store):
    with store.transaction() as outer:
        outer.session("a").append("user", "x")
        with pytest.raises(ZeroDivisionError), outer.transaction() as inner:
            inner.session("b").append("user", "x")
            raise ZeroDivisionError
    assert [record.session_id for record in store.sessions()] == ["a"]


def test_errors_of_own_sql_in_a_transaction_are_not_translated(store, side, raw):
    with pytest.raises(psycopg.errors.DivisionByZero), side.store(raw).transaction():
        raw.execute("SELECT 1/0")


def test_using_a_callers_connection_and_transaction(store, raw, connection):
    session = store.using(raw).session("s")
    session.append("user", "x")
    assert session.append("user", "y").sequence == 1
    assert connection.execute("SELECT FROM sessions").fetchall() == []
    raw.rollback()
    with pytest.raises(dal.SessionNotFound):
        store.session("s").record()
    session.append("user", "x")
    raw.commit()
    assert store.session("s").record().message_count == 1


def test_closing_a_store_leaves_a_callers_connection_open(side, raw):
    with side.store(raw) as store:
        store.session("s").append("user", "x")
    with pytest.raises(dal.StoreClosed, match="this store was closed"):
        store.session("s").latest()
    assert not raw.closed


def test_a_store_with_its_own_pool_cannot_be_used_after_closing(side, server, schema, tables):
    store = side.connect_store(server.conninfo, schema=schema)
    store.close()
    store = side.connect_store(server.conninfo, schema=schema)
    store.session().append("user", "x")
    store.close()
    store.close()
    with pytest.raises(dal.StoreClosed, match="make a new one"):
        store.session().append("user", "x")


def test_a_store_with_a_callers_pool(side, server, options, tables):
    with side.pool(server.conninfo, kwargs=options, min_size=1, max_size=2) as pool:
        store = side.store(pool)
        session = store.session("s")
        assert [session.append("user", "x").sequence for _ in range(3)] == [0, 1, 2]
        with store.transaction() as inside:
            inside.session("s").append("user", "x")
        store.close()
        assert not pool.closed
    with pytest.raises(dal.StoreClosed):
        side.store(pool).session("s").latest()


def test_a_pool_without_autocommit_commits(side, server, options, tables, connection):
    kwargs = options | {"autocommit": False}
    with side.pool(server.conninfo, kwargs=kwargs, min_size=1, max_size=2) as pool:
        side.store(pool).session("s").append("user", "x")
        assert connection.execute("SELECT session_id FROM sessions").fetchall() == [("s",)]


def test_an_exhausted_pool_is_an_error(side, server, schema, tables):
    with side.connect_store(server.conninfo, schema=schema, max_size=1, timeout=1) as store:
        store.check_schema()
        with (
            store.transaction(),
            pytest.raises(dal.ServerUnavailable, match="no connection was free.*raise max_size or timeout"),
        ):
            store.session().append("user", "x")


def test_a_connections_row_and_cursor_factories_have_no_effect(side, server, options, tables):
    cursor = psycopg.RawCursor if side.name == "sync" else psycopg.AsyncRawCursor
    raw = side.connect(server.conninfo, row_factory=dict_row, cursor_factory=cursor, **options)
    session = side.store(raw).session("s")
    message = session.append("assistant", "x", agent_id="a", metadata={"a": 1})
    assert session.latest() == (message,)
    assert session.agent_ids() == ("a",)
    assert session.record().metadata == {}
    raw.close()


def test_a_concurrent_duplicate_in_a_transaction_says_what_to_do(store, server, raw, connect):
    first = connect(autocommit=False)
    dal.SessionStore(first).session("s").append("user", "first")
    first.commit()
    dal.SessionStore(first).session("s").append("user", "same", message_id="m")
    timer = threading.Timer(0.3, first.commit)
    timer.start()
    with pytest.raises(dal.MessageConflict, match="roll back and append it again") as conflict:
        store.using(raw).session("s").append("user", "same", message_id="m")
    timer.join()
    assert conflict.value.sqlstate == ("40001" if server.kind == "citus" else "23505")
    raw.rollback()
    assert store.using(raw).session("s").append("user", "same", message_id="m").sequence == 1
    assert store.session("s").append("user", "same", message_id="m").sequence == 1


@pytest.mark.one_server  # On a cluster, `append.distributed` is called instead.
def test_queries_can_be_called_directly(side, server, options, tables):
    raw = side.connect(server.conninfo, **options)
    queries = side.queries
    appended = queries.messages.append(
        raw,
        session_id="s",
        source=None,
        user_id=None,
        parent_id=None,
        session_metadata="{}",
        message_id="m",
        role="user",
        agent_id=None,
        content="x",
        metadata="{}",
        if_next=None,
        must_exist=False,
        session_changes=None,
    )
    assert (appended.sequence, appended.is_same) == (0, True)
    assert queries.sessions.get(raw, session_id="s").next_sequence == 1
    assert queries.sessions.get(raw, session_id="t") is None
    assert [message.content for message in queries.messages.latest(raw, session_id="s", limit=5)] == ["x"]
    raw.close()


def test_a_statement_timeout_is_reported(store, connect):
    other = connect()
    other.execute("SET statement_timeout = 1")
    store.session("s").append_all([NewMessage(role="user", content="x" * 1000) for _ in range(2000)])
    with pytest.raises(dal.StatementFailed, match="statement timeout") as error:
        dal.SessionStore(other).session("s").messages(limit=2000)
    assert (error.value.query, error.value.sqlstate) == ("messages.after", "57014")
    assert isinstance(error.value.__cause__, psycopg.errors.QueryCanceled)
