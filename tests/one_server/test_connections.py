"""Callers' connections with their own settings: the methods work, or say why not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from sides import pool_of, unwrap
from test_round_trips import SESSION_CALLS, STORE_CALLS

import dal

CHANGE_A_MESSAGE = {"annotate", "delete", "redact", "remove_last", "replace_from"}
ISOLATION_LEVELS = ["repeatable read", "serializable"]


@pytest.fixture
def connect_side(side, server, options, tables):
    """Connect on either side, with other server settings."""
    made = []

    def connect(*, autocommit=True, **settings):
        flags = "".join(f" -c {name}={value}" for name, value in settings.items())
        keywords = options | {"options": options["options"] + flags.replace(" read", "\\ read")}
        made.append(side.connect(server.conninfo, **keywords | {"autocommit": autocommit}))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


@pytest.mark.parametrize("level", ISOLATION_LEVELS)
def test_a_serialization_failure_in_a_callers_transaction_says_to_run_it_again(side, connect_side, sync_store, level):
    raw = connect_side(autocommit=False, default_transaction_isolation=level)
    session = side.store(raw).session("s")
    sync_store.session("s").append("user", "before")
    assert len(session.latest()) == 1
    sync_store.session("s").append("user", "meanwhile")
    with pytest.raises(
        dal.StatementFailed, match="could not serialize access .* run it again from its beginning"
    ) as error:
        session.append("user", "x", message_id="m")
    assert (error.value.query, error.value.sqlstate) == ("messages.append", "40001")
    raw.rollback()
    assert session.append("user", "x", message_id="m").sequence == 2
    raw.commit()
    assert [message.content for message in sync_store.session("s").latest()] == ["before", "meanwhile", "x"]


@pytest.mark.parametrize("level", ISOLATION_LEVELS)
def test_serialization_failures_in_autocommit_are_retried(server, schema, tables, level):
    settings = "-c default_transaction_isolation=" + level.replace(" ", "\\ ") + f" -c search_path={schema}"

    def write(_):
        with psycopg.connect(server.conninfo, autocommit=True, options=settings) as connection:
            session = dal.SessionStore(connection).session("s")
            return [session.append("user", "x").sequence for _ in range(20)]

    with ThreadPoolExecutor(4) as threads:
        numbers = [number for some in threads.map(write, range(4)) for number in some]
    assert sorted(numbers) == list(range(80))


def test_a_failed_statement_on_a_pool_without_autocommit_is_rolled_back(side, server, options, sync_store, caplog):
    """The store rolls back; otherwise the pool would warn about an open transaction."""
    sync_store._backend.runner.source._connection.execute(
        "ALTER TABLE messages ADD CONSTRAINT polite CHECK (content <> 'damn')"
    )
    with side.pool(server.conninfo, kwargs=options | {"autocommit": False}, min_size=1, max_size=1) as pool:
        session = side.store(pool).session("s")
        session.append("user", "hello")
        with pytest.raises(dal.StatementFailed) as refused:
            session.append("user", "damn")
        assert refused.value.sqlstate == "23514"
        assert session.append("user", "sorry").sequence == 1
    assert [message.content for message in sync_store.session("s").latest()] == ["hello", "sorry"]
    assert [record.message for record in caplog.records if record.name.startswith("psycopg.pool")] == []


def test_tables_outside_the_search_path_are_an_error(side, connect_side):
    raw = connect_side(search_path="pg_catalog")
    with pytest.raises(dal.SchemaMismatch, match="tables are not here"):
        side.store(raw).session("s").append("user", "x")


def test_tables_may_be_later_in_the_search_path(side, connect_side, schema):
    raw = connect_side(search_path=f"nowhere,public,{schema}")
    assert side.store(raw).session("s").append("user", "x").sequence == 0
    raw.execute("SET search_path = pg_catalog")
    raw.execute(f"SET search_path = pg_catalog, {schema}")
    assert side.store(raw).session("s").append("user", "x").sequence == 1


@pytest.mark.parametrize("autocommit", [True, False])
def test_every_method_works_in_a_pipeline(side, connect_side, sync_store, autocommit):
    raw = connect_side(autocommit=autocommit)
    store = side.store(raw)
    for method, call in SESSION_CALLS.items():
        with raw.pipeline():
            session = store.session(method)
            first = session.append("user", "first", message_id="m0", agent_id="a")
            call(session)
            assert (session.message("m0") == first) == (method not in CHANGE_A_MESSAGE)
    for method, call in STORE_CALLS.items():
        if method != "apply_schema":
            with raw.pipeline():
                call(store)
    with suppress(AttributeError):
        raw.commit()
    listed = {record.session_id for record in sync_store.sessions(limit=1000)}
    assert SESSION_CALLS.keys() - listed == SESSION_CALLS.keys() & {"delete", "trash"}
    assert len(listed - SESSION_CALLS.keys()) > 100, "append_all opened as many, and fork one"
    assert sync_store.session("append").record().message_count == 2


def test_apply_schema_is_refused_in_a_pipeline(side, connect_side):
    raw = connect_side()
    with pytest.raises(dal.StatementFailed, match="a pipeline sends them one by one"), raw.pipeline():
        side.store(raw).apply_schema()


def test_a_pipeline_continues_after_a_conflict(side, connect_side, sync_store):
    raw = connect_side()
    session = side.store(raw).session("s")
    session.append("user", "x")
    with raw.pipeline():
        with pytest.raises(dal.MessageConflict):
            session.append("user", "x", message_id="m")
            session.append("user", "y", message_id="m")
        assert session.append("user", "z").sequence == 2
    assert sync_store.session("s").record().message_count == 3


def test_a_callers_json_loader_has_no_effect(side, connect_side):
    raw = connect_side()
    set_json_loads(lambda text: "the caller's", unwrap(raw))
    session = side.store(raw).session("s", metadata={"n": 1.5})
    session.append("user", "x", metadata={"a": [1, "é"]})
    session.append("user", "y")
    assert [message.metadata for message in session.latest()] == [{"a": [1, "é"]}, {}]
    assert session.record().metadata == {"n": 1.5}
    cursor = raw.execute("SELECT '1'::jsonb")
    assert side.name == "async" or cursor.fetchone() == ("the caller's",)


def test_a_connections_row_factory_has_no_effect(side, connect_side, sync_store):
    raw = connect_side()
    raw.row_factory = dict_row
    store = side.store(raw)
    line = b'{"message": {"session_id": "s", "role": "user", "content": "%d"}}'
    assert store.import_([line % n for n in range(3)]) == dal.Imported(1, 3, 0, {})
    assert b"".join(store.export()) == b"".join(sync_store.export())
    session = store.session("s")
    assert session.append("user", "x").sequence == 3
    assert tuple(session.stream()) == session.latest() == session.open().messages == sync_store.session("s").latest()
    assert [record.session_id for record in store.sessions()] == ["s"]
    assert len(session.append_all([dal.NewMessage(role="user", content="y")] * 2)) == 2
    assert session.agent_ids() == ()
    assert session.remove_from(0) == 6


def test_an_append_uses_the_connections_current_settings(side, connect_side, sync_store):
    """A reused cursor must not use the settings of its first statement."""
    raw = connect_side()
    session = side.store(raw).session("s")
    for encoding, zone in (("latin1", "Asia/Tokyo"), ("utf8", "America/New_York"), ("latin1", "UTC")):
        raw.execute(f"SET client_encoding = {encoding}")
        raw.execute(f"SET TimeZone = '{zone}'")
        for _ in range(7):  # psycopg prepares it on the sixth execution.
            message = session.append("user", "é")
            assert str(message.created_at.tzinfo) == zone
    assert {message.content for message in sync_store.session("s").latest(100)} == {"é"}


def test_threads_can_share_a_connection(connect_side, side):
    if side.name == "async":
        pytest.skip("a task is not interrupted between its statement and its rows")
    store = side.store(connect_side())

    def write(user):
        session = store.session(user)
        return [session.append("user", "x").sequence for _ in range(200)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, "abcd")) == [list(range(200))] * 4


@pytest.mark.parametrize("style", [pytest.param("German", marks=pytest.mark.one_server), "SQL", "Postgres"])
def test_the_servers_date_style_has_no_effect(side, connect_side, sync_store, style):
    store = side.store(connect_side(datestyle=style))
    stored = store.session("s", user_id="u").append("user", "x")
    assert store.session("s").latest() == sync_store.session("s").latest() == (stored,)
    store.session("later").append("user", "y")
    page = store.sessions(limit=1)
    assert [one.session_id for one in page] == ["later"]
    assert store.sessions(limit=1, cursor=page.cursor).sessions == (sync_store.session("s").record(),)
    assert store.session("s").archive() == sync_store.session("s").record()


def test_the_first_call_opens_one_connection(store):
    store.session("s").append("user", "x")
    assert pool_of(store).get_stats()["connections_num"] == 1


def test_a_new_pool_grows_as_soon_as_two_need_a_connection(side, server, schema, tables):
    with side.connect_store(server.conninfo, schema=schema, max_size=3) as store:
        with store.connection(), store.connection(), store.connection():
            assert pool_of(store).get_stats()["pool_size"] == 3
