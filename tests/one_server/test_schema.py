"""Applying the schema, and meeting another one."""

import re
import threading

import psycopg
import pytest
from ulid import ULID

import dal
from dal.schema.check import VERSION
from dal.sql import SCHEMA


@pytest.fixture
def bare(side, server, schema):
    """A store whose schema holds nothing yet."""
    with side.connect_store(server.conninfo, schema=schema) as store:
        yield store


def catalog(connection):
    return connection.execute(
        "SELECT c.relname, c.relkind::text, pg_get_indexdef(c.oid), c.reloptions, obj_description(c.oid) "
        "FROM pg_class AS c "
        "WHERE c.relnamespace = current_schema()::regnamespace ORDER BY c.relname"
    ).fetchall()


def test_applying_twice_is_harmless(bare, connection):
    before = catalog(connection)
    bare.session("s").append("user", "x")
    bare.apply_schema()
    assert catalog(connection) == before
    assert bare.session("s").record().message_count == 1
    assert connection.execute("SELECT version FROM dal_schema").fetchall() == [(VERSION,)]


def test_the_file_and_the_library_agree_on_the_version():
    text = SCHEMA.read_text(encoding="utf-8")
    assert re.search(r"made constant integer := (\d+);", text)[1] == str(VERSION)
    assert re.search(r"INSERT INTO dal_schema \(version, usable_from\) VALUES \((\d+),", text)[1] == str(VERSION)


def test_a_missing_schema_is_made_and_any_name_will_do(side, server):
    name = f'Agents "{ULID()}" \\ ü'
    with side.connect_store(server.conninfo, schema=name) as store:
        store.apply_schema()
        store.session("s").append("user", "x")
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        quoted = psycopg.sql.Identifier(name)
        rows = connection.execute(psycopg.sql.SQL("SELECT session_id FROM {}.sessions").format(quoted)).fetchall()
        connection.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(quoted))
    assert rows == [("s",)]


def test_schemas_do_not_see_each_other(side, server, store):
    with side.connect_store(server.conninfo, schema=f"test_{ULID()}") as other:
        other.apply_schema()
        other.session("s").append("user", "x")
        with pytest.raises(dal.SessionNotFound):
            store.session("s").record()
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        for (name,) in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^test_[0-9A-Z]{26}$'"):
            connection.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(name)))


def test_without_tables_the_first_error_says_what_to_run(bare):
    for attempt in (lambda: bare.session().append("user", "x"), lambda: bare.sessions(), lambda: bare.check_schema()):
        with pytest.raises(dal.SchemaMismatch, match=r"tables are not here; run `dal schema apply`"):
            attempt()
    bare.apply_schema()
    bare.check_schema()
    assert bare.session().append("user", "x").sequence == 0


@pytest.mark.parametrize(
    ("version", "usable_from", "told"),
    [
        (VERSION + 1, VERSION + 1, f"is made for {VERSION}; install a newer one"),
        (VERSION + 1, None, f"is made for {VERSION}; install a newer one"),
        (VERSION - 1, 1, f"needs {VERSION}; run `dal schema upgrade`"),
        (None, None, "never applied completely here; run `dal schema apply`"),
    ],
)
def test_another_version_is_told_by_the_first_error(bare, connection, version, usable_from, told):
    connection.execute("DELETE FROM dal_schema")
    if version is not None:
        connection.execute("INSERT INTO dal_schema VALUES (%s, now(), %s)", [version, usable_from])
    for _ in range(2):
        with pytest.raises(dal.SchemaMismatch, match=told):
            bare.session().append("user", "x")
    assert connection.execute("SELECT FROM sessions").fetchall() == []
    if version is not None:
        with pytest.raises(dal.SchemaMismatch, match=told):
            bare.apply_schema()


def test_newer_tables_that_serve_this_release_are_used_and_left_as_they_are(bare, connection):
    connection.execute("INSERT INTO dal_schema VALUES (%s, now(), %s)", [VERSION + 7, VERSION])
    connection.execute("DROP INDEX messages_by_agent")
    before = catalog(connection)
    bare.apply_schema()
    bare.check_schema()
    assert bare.session("s").append("user", "x").sequence == 0
    assert catalog(connection) == before


@pytest.mark.parametrize(
    ("version", "advice"), [(VERSION - 1, "Run dal schema upgrade"), (VERSION + 1, "Use a newer release")]
)
def test_the_file_alone_refuses_another_version_and_says_what_to_do(connect, version, advice):
    connection = connect(autocommit=False)
    connection.execute("UPDATE dal_schema SET version = %s", [version])
    with pytest.raises(dal.SchemaMismatch, match=f"holds version {version} .* makes version {VERSION}.*{advice}"):
        dal.SessionStore(connection).apply_schema()


@pytest.mark.parametrize("theirs", ["sessions", "messages"])
def test_a_table_of_someone_else_is_left_alone(bare, server, schema, theirs):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{theirs} (id integer)")
        with pytest.raises(dal.SchemaMismatch, match="not session-dal's. Choose a schema of its own"):
            bare.apply_schema()
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
        assert tables == [(theirs,)]
    with pytest.raises(dal.SchemaMismatch):
        bare.session().append("user", "x")


def test_applying_at_the_same_moment(server, schema):
    start, errors = threading.Barrier(6), []

    def apply():
        with dal.SessionStore.connect(server.conninfo, schema=schema) as store:
            start.wait()
            try:
                store.apply_schema()
            except dal.DalError as error:
                errors.append(error)

    threads = [threading.Thread(target=apply) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_every_table_and_column_says_what_it_is_for(connection, sync_store):
    silent = connection.execute(
        """
        SELECT c.relname, a.attname FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
        AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
        """
    ).fetchall()
    assert silent == []


def test_every_key_begins_with_the_session(connection, sync_store):
    keys = connection.execute(
        """
        SELECT conname, (SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1])
        FROM pg_constraint WHERE contype IN ('p', 'u', 'f') AND conrelid IN ('sessions'::regclass, 'messages'::regclass)
        """
    ).fetchall()
    assert len(keys) == 4
    assert {column for _, column in keys} == {"session_id"}


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("UPDATE sessions SET status = 'over'", "sessions_status_is_known"),
        ("UPDATE sessions SET next_sequence = 0", "sessions_counts_agree"),
        ("UPDATE sessions SET message_count = -1", "sessions_counts_agree"),
        ("UPDATE sessions SET status = 'archived'", "sessions_archived_has_its_time"),
        ("UPDATE sessions SET archived_at = now()", "sessions_archived_has_its_time"),
        ("UPDATE sessions SET agent_ids = '{}'", "sessions_only_archived_caches"),
        ("UPDATE sessions SET metadata = '[]'", "sessions_metadata_is_an_object"),
        ("UPDATE sessions SET user_id = ''", "sessions_ids_fit"),
        ("UPDATE messages SET metadata = '1'", "messages_metadata_is_an_object"),
        ("UPDATE messages SET role = ''", "messages_ids_fit"),
        ("UPDATE messages SET sequence = -1", "messages_sequence_is_not_negative"),
        ("UPDATE messages SET session_id = 'none'", "messages_session_id_fkey"),
    ],
)
def test_the_tables_refuse_what_the_library_never_writes(connection, sync_store, change, constraint):
    sync_store.session("s").append("user", "x")
    with pytest.raises(psycopg.IntegrityError) as refused:
        connection.execute(change)
    assert refused.value.diag.constraint_name == constraint


def test_psql_can_apply_it(connection, server, tables):
    """The file needs nothing of the library: no parameter, no statement that a transaction forbids."""
    text = SCHEMA.read_text(encoding="utf-8")
    with connection.transaction():
        connection.execute(text.encode())
    assert not re.search(r"\b(CONCURRENTLY|BEGIN;|COMMIT;)", text)
