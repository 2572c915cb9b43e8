"""Applying and checking the schema."""

import re
import threading

import psycopg
import pytest
from program import run
from ulid import ULID

import dal
from dal.schema.check import VERSION
from dal.sql import SCHEMA


@pytest.fixture
def store_without_tables(side, server, schema):
    """A store with an empty schema."""
    with side.connect_store(server.conninfo, schema=schema) as store:
        yield store


def catalog(connection):
    return connection.execute(
        "SELECT c.relname, c.relkind::text, pg_get_indexdef(c.oid), c.reloptions, obj_description(c.oid) "
        "FROM pg_class AS c "
        "WHERE c.relnamespace = current_schema()::regnamespace ORDER BY c.relname"
    ).fetchall()


def test_the_schema_can_be_applied_twice(store_without_tables, connection):
    before = catalog(connection)
    store_without_tables.session("s").append("user", "x")
    store_without_tables.apply_schema()
    assert catalog(connection) == before
    assert store_without_tables.session("s").record().message_count == 1
    assert connection.execute("SELECT version FROM dal_schema").fetchall() == [(VERSION,)]


def test_the_file_and_the_library_agree_on_the_version():
    text = SCHEMA.read_text(encoding="utf-8")
    assert re.search(r"made constant integer := (\d+);", text)[1] == str(VERSION)
    assert re.search(r"INSERT INTO dal_schema \(version, usable_from\) VALUES \((\d+),", text)[1] == str(VERSION)


def test_apply_schema_creates_a_schema_of_any_name(side, server):
    name = f'Agents "{ULID()}" \\ ü'
    with side.connect_store(server.conninfo, schema=name) as store:
        store.apply_schema()
        store.session("s").append("user", "x")
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        quoted = psycopg.sql.Identifier(name)
        rows = connection.execute(psycopg.sql.SQL("SELECT session_id FROM {}.sessions").format(quoted)).fetchall()
        connection.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(quoted))
    assert rows == [("s",)]


def test_schemas_are_independent(side, server, store):
    with side.connect_store(server.conninfo, schema=f"test_{ULID()}") as other:
        other.apply_schema()
        other.session("s").append("user", "x")
        with pytest.raises(dal.SessionNotFound):
            store.session("s").record()
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        for (name,) in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^test_[0-9A-Z]{26}$'"):
            connection.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(name)))


def test_without_tables_the_first_error_says_what_to_run(store_without_tables):
    for attempt in (
        lambda: store_without_tables.session().append("user", "x"),
        lambda: store_without_tables.sessions(),
        lambda: store_without_tables.check_schema(),
    ):
        with pytest.raises(dal.SchemaMismatch, match=r"tables are not here; run `dal schema apply`"):
            attempt()
    store_without_tables.apply_schema()
    store_without_tables.check_schema()
    assert store_without_tables.session().append("user", "x").sequence == 0


@pytest.mark.parametrize(
    ("version", "usable_from", "message"),
    [
        (VERSION + 1, VERSION + 1, f"is made for {VERSION}; install a newer one"),
        (VERSION + 1, None, f"is made for {VERSION}; install a newer one"),
        (VERSION - 1, 1, f"needs {VERSION}; run `dal schema upgrade`"),
        (None, None, "never applied completely here; run `dal schema apply`"),
    ],
)
def test_another_version_is_refused(store_without_tables, connection, version, usable_from, message):
    connection.execute("DELETE FROM dal_schema")
    if version is not None:
        connection.execute("INSERT INTO dal_schema VALUES (%s, now(), %s)", [version, usable_from])
    for _ in range(2):
        with pytest.raises(dal.SchemaMismatch, match=message):
            store_without_tables.session().append("user", "x")
    assert connection.execute("SELECT FROM sessions").fetchall() == []
    if version is not None:
        with pytest.raises(dal.SchemaMismatch, match=message):
            store_without_tables.apply_schema()


def test_compatible_newer_tables_are_used(store_without_tables, connection):
    connection.execute("INSERT INTO dal_schema VALUES (%s, now(), %s)", [VERSION + 7, VERSION])
    connection.execute("DROP INDEX messages_by_agent")
    before = catalog(connection)
    store_without_tables.apply_schema()
    store_without_tables.check_schema()
    assert store_without_tables.session("s").append("user", "x").sequence == 0
    assert catalog(connection) == before


@pytest.mark.parametrize(
    ("version", "advice"), [(VERSION - 1, "Run dal schema upgrade"), (VERSION + 1, "Use a newer release")]
)
def test_schema_sql_refuses_another_version(connect, version, advice):
    connection = connect(autocommit=False)
    connection.execute("UPDATE dal_schema SET version = %s", [version])
    with pytest.raises(dal.SchemaMismatch, match=f"holds version {version} .* makes version {VERSION}.*{advice}"):
        dal.SessionStore(connection).apply_schema()


@pytest.mark.parametrize("table", ["sessions", "messages"])
def test_a_table_of_another_project_is_not_changed(store_without_tables, server, schema, table):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{table} (id integer)")
        with pytest.raises(dal.SchemaMismatch, match="not session-dal's. Choose a schema of its own"):
            store_without_tables.apply_schema()
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
        assert tables == [(table,)]
    with pytest.raises(dal.SchemaMismatch):
        store_without_tables.session().append("user", "x")


def test_the_schema_can_be_applied_concurrently(server, schema):
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


def test_every_table_and_column_has_a_comment(connection, sync_store):
    undocumented = connection.execute(
        """
        SELECT c.relname, a.attname FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
        AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
        """
    ).fetchall()
    assert undocumented == []


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
        ("UPDATE sessions SET status = 'over'", "dal_status_is_known"),
        ("UPDATE sessions SET agent_ids = '{}'", "sessions_only_archived_caches"),
        ("UPDATE sessions SET metadata = '[]'", "dal_object_is_an_object"),
        ("UPDATE sessions SET session_id = ''", "dal_identifier_fits"),
        ("UPDATE sessions SET source = ''", "dal_identifier_fits"),
        ("UPDATE sessions SET user_id = ''", "dal_identifier_fits"),
        ("UPDATE sessions SET parent_id = repeat('x', 256)", "dal_identifier_fits"),
        ("UPDATE messages SET metadata = '1'", "dal_object_is_an_object"),
        ("UPDATE messages SET message_id = ''", "dal_identifier_fits"),
        ("UPDATE messages SET role = ''", "dal_identifier_fits"),
        ("UPDATE messages SET agent_id = repeat('x', 256)", "dal_identifier_fits"),
        ("UPDATE messages SET session_id = 'none'", "messages_session_id_fkey"),
    ],
)
def test_the_tables_refuse_invalid_values(connection, sync_store, change, constraint):
    sync_store.session("s").append("user", "x")
    with pytest.raises(psycopg.IntegrityError) as refused:
        connection.execute(change)
    assert refused.value.diag.constraint_name == constraint


def test_the_longest_ids_are_accepted(connection, sync_store):
    longest = 255 * "\U0001f600"
    sync_store.session(longest, source=longest, user_id=longest, parent_id=longest).append(
        longest, "x", message_id=longest, agent_id=longest
    )
    assert dal.queries.schema.broken_rows(connection, limit=9) == []


UNCHECKED = [
    ("UPDATE sessions SET next_sequence = 0", "message_count is from 0 to next_sequence", None),
    ("UPDATE sessions SET message_count = -1", "message_count is from 0 to next_sequence", None),
    ("UPDATE sessions SET status = 'archived'", "archived_at is set if the session is archived", None),
    ("UPDATE sessions SET archived_at = now()", "archived_at is set if the session is archived", None),
    ("UPDATE sessions SET trashed_from = 'archived', status = 'trashed'", "archived_at is set if the session is", None),
    ("UPDATE sessions SET trashed_from = 'active'", "trashed_from is active, paused or archived if", None),
    ("UPDATE sessions SET status = 'trashed'", "trashed_from is active, paused or archived if", None),
    (
        "UPDATE sessions SET trashed_from = 'x', status = 'trashed'",
        "trashed_from is active, paused or archived if",
        None,
    ),
    ("UPDATE messages SET sequence = -1", "sequence is 0 or more", -1),
]
"""Statements that the tables accept, though session-dal sends none like them, with the rule that each breaks and the
number of the message."""

STORED_BEFORE = [
    ("dal_identifier_fits", "UPDATE sessions SET source = ''", "session_id, source, user_id and parent_id have", None),
    ("dal_identifier_fits", "UPDATE sessions SET user_id = repeat('x', 256)", "session_id, source, user_id and", None),
    ("dal_identifier_fits", "UPDATE sessions SET parent_id = ''", "session_id, source, user_id and parent_id", None),
    ("dal_status_is_known", "UPDATE sessions SET status = 'over'", "status is active, paused, archived", None),
    ("dal_object_is_an_object", "UPDATE sessions SET metadata = '[]'", "metadata is an object", None),
    ("dal_identifier_fits", "UPDATE messages SET message_id = ''", "message_id, role and agent_id have 1 to", 0),
    ("dal_identifier_fits", "UPDATE messages SET role = ''", "message_id, role and agent_id have 1 to", 0),
    ("dal_identifier_fits", "UPDATE messages SET agent_id = ''", "message_id, role and agent_id have 1 to", 0),
    ("dal_object_is_an_object", "UPDATE messages SET metadata = '1'", "metadata is an object", 0),
]
"""Rules of domains, and statements that break them while the domain does not have the rule yet."""


def without(rule):
    """Return the statement that drops the rule of a domain."""
    return f"ALTER DOMAIN {'_'.join(rule.split('_')[:2])} DROP CONSTRAINT {rule}"


@pytest.mark.parametrize(
    ("change", "rule", "sequence"),
    [*UNCHECKED, *((f"{without(name)}; {change}", rule, number) for name, change, rule, number in STORED_BEFORE)],
)
def test_rows_that_break_a_rule_are_found(connection, sync_store, change, rule, sequence):
    sync_store.session("s").append("user", "x")
    assert dal.queries.schema.broken_rows(connection, limit=9) == []
    connection.execute(change)
    (found,) = dal.queries.schema.broken_rows(connection, limit=9)
    assert found.rule.startswith(rule)
    assert (found.session_id, found.sequence) == ("s", sequence)


def test_the_check_of_the_rows(connection, sync_store, server, schema):
    options = ("--schema", schema, "--dsn", server.conninfo, "--rows")
    sync_store.session("s").append("user", "x")
    assert run("schema", "check", *options).returncode == 0
    connection.execute("UPDATE sessions SET message_count = 9; UPDATE messages SET sequence = -1")
    refused = run("schema", "check", *options)
    assert refused.returncode == 1
    assert refused.stdout == (
        "error: session 's' breaks a rule: message_count is from 0 to next_sequence\n"
        "error: session 's', message -1 breaks a rule: sequence is 0 or more\n"
    )
    assert refused.stderr.startswith(
        "dal: rows break rules that session-dal keeps (errors: 2), so other SQL has changed them"
    )
    assert run("schema", "check", *options[:-1]).returncode == 0


def test_schema_sql_can_be_applied_by_psql(connection, server, tables):
    """The file has no parameters, and runs in a transaction."""
    text = SCHEMA.read_text(encoding="utf-8")
    with connection.transaction():
        connection.execute(text.encode())
    assert not re.search(r"\b(CONCURRENTLY|BEGIN;|COMMIT;)", text)
