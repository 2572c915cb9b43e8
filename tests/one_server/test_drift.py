"""Differences between the tables and schema.sql: errors are refused, and notes are logged."""

import logging
import re

import pytest
from program import run
from psycopg.conninfo import make_conninfo
from sides import unwrap

import dal
from dal.gate import wire
from dal.schema import drift
from dal.schema.check import VERSION

ERRORS = {
    "DROP TABLE changes": "table changes is missing",
    "ALTER TABLE changes RENAME TO r; CREATE VIEW changes AS SELECT * FROM r": "changes in schema .* is a view",
    "ALTER TABLE changes SET UNLOGGED": "changes in schema .* is a unlogged table",
    "ALTER TABLE messages DROP COLUMN content": "column content of messages is missing; schema.sql makes it text NOT N",
    "ALTER TABLE messages ALTER content TYPE varchar(9)": r"content of messages is character varying\(9\) NOT NULL;",
    'ALTER TABLE messages ALTER role TYPE text COLLATE "default"': "column role of messages is text NOT NULL;",
    "ALTER TABLE messages ALTER content DROP NOT NULL": "column content of messages is text;",
    "ALTER TABLE sessions ALTER status SET DEFAULT 'paused'": "status of sessions is .* DEFAULT 'paused'::text;",
    "ALTER TABLE sessions ALTER listed_at DROP DEFAULT": "listed_at of sessions is timestamp .* NOT NULL;",
    "ALTER TABLE messages ADD own text NOT NULL": "column own of messages is NOT NULL without a default",
    "ALTER TABLE messages DROP CONSTRAINT messages_message_id_key": "constraint messages_message_id_key .* is missing",
    "ALTER TABLE messages DROP CONSTRAINT messages_pkey": "constraint messages_pkey of messages is missing",
    "ALTER TABLE sessions DROP CONSTRAINT sessions_only_archived_caches": "constraint sessions_only_.* is missing",
    "ALTER TABLE sessions DROP CONSTRAINT sessions_only_archived_caches; "
    "ALTER TABLE sessions ADD CONSTRAINT sessions_only_archived_caches CHECK (true)": "sessions_only_archived_.* is",
    "ALTER TABLE sessions ALTER source TYPE text": "domain source of sessions is missing; schema.sql makes it dal_",
    "ALTER DOMAIN dal_status DROP CONSTRAINT dal_status_is_known": "domain status of sessions is dal_status; schema",
    "ALTER DOMAIN dal_status DROP CONSTRAINT dal_status_is_known; ALTER DOMAIN dal_status "
    "ADD CONSTRAINT dal_status_is_known CHECK (value <> '')": "status of sessions is dal_status CHECK .*VALUE <>",
    "ALTER TABLE messages DROP CONSTRAINT messages_session_id_fkey; ALTER TABLE messages ADD CONSTRAINT "
    "messages_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions ON DELETE CASCADE NOT VALID": "NOT VALID;",
    "ALTER TABLE messages DROP CONSTRAINT messages_session_id_fkey; ALTER TABLE messages ADD CONSTRAINT "
    "messages_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions": r"REFERENCES sessions\(session_id\);",
    "ALTER TABLE messages DISABLE TRIGGER ALL": "messages_session_id_fkey .* ON DELETE CASCADE DISABLED;",
    "DROP INDEX messages_by_agent": "index messages_by_agent of messages is missing",
    "DROP INDEX messages_by_agent; CREATE INDEX messages_by_agent ON messages (session_id)": "is btree .session_id.;",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_by_agent'::regclass": r"NULL\) INVALID;",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'messages_message_id_key'::regclass": r"_id\) INVALID;",
    "CREATE RULE own AS ON UPDATE TO sessions DO ALSO NOTHING": "rule own on sessions: .* use a trigger",
    "CREATE TEMPORARY TABLE messages (LIKE messages)": "messages in schema pg_temp_.* is a temporary table",
    "CREATE TEMPORARY TABLE dal_schema AS SELECT * FROM dal_schema": "dal_schema in schema pg_temp_",
    "CREATE SCHEMA {other}; CREATE TABLE {other}.messages (LIKE messages); "
    "SET search_path = {other}, {schema}": r"several schemas \(.*messages in .*_other\b",
}
"""Statements, and the error that they cause."""

NOTES = {
    "CREATE INDEX own ON messages (created_at)": r"index own of messages is not session-dal's: btree \(created_at\)",
    "CREATE UNIQUE INDEX own ON messages (session_id, role)": "index own of messages is not .*: UNIQUE btree",
    "CREATE TRIGGER own BEFORE UPDATE ON messages EXECUTE FUNCTION suppress_redundant_updates_trigger()": "trigger own",
    "CREATE TABLE own (session_id text REFERENCES sessions ON DELETE CASCADE)": "own_session_id_fkey of sessions .*",
    "ALTER TABLE sessions ADD own integer": "column own of sessions is not session-dal's: integer",
    "ALTER TABLE sessions ADD own integer NOT NULL DEFAULT 7": "column own .*: integer NOT NULL DEFAULT 7",
    "ALTER TABLE messages ADD CONSTRAINT own CHECK (role <> 'system')": "constraint own of messages is not",
    "ALTER TABLE sessions SET (fillfactor = 90)": "parameter fillfactor of sessions is 90; schema.sql makes it 50",
    "ALTER TABLE sessions RESET (fillfactor)": "parameter fillfactor of sessions is missing; schema.sql makes it 50",
    "ALTER TABLE messages SET (autovacuum_enabled = off)": "parameter autovacuum_enabled of messages is not",
    "ALTER TABLE messages ENABLE ROW LEVEL SECURITY": "row-level security no policy of messages",
}

UNCHANGED = [
    "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'iso_8601'",
    "REINDEX INDEX messages_by_agent",
    "ALTER DOMAIN dal_identifier VALIDATE CONSTRAINT dal_identifier_fits",
    "ALTER INDEX messages_by_agent SET (fillfactor = 90)",
    "ALTER TABLE sessions ALTER source SET STATISTICS 500; COMMENT ON TABLE sessions IS 'ours'; ANALYZE",
]
"""Statements that change nothing that the check compares."""


@pytest.fixture
def alter(connection, schema):
    """Run statements as the tables' owner."""

    def alter(statements):
        connection.execute(statements.replace("{other}", f"{schema}_other").replace("{schema}", schema).encode())

    yield alter
    connection.execute(f"SET client_min_messages = warning; DROP SCHEMA IF EXISTS {schema}_other CASCADE")


@pytest.fixture
def found(connection):
    return lambda: dal.queries.schema.check(connection)


@pytest.mark.parametrize("change", ERRORS)
def test_a_schema_error_is_refused_before_anything_is_stored(alter, sync_store, connection, change):
    alter(change)
    for _ in range(2):
        with pytest.raises(dal.SchemaMismatch, match=ERRORS[change]) as refused:
            sync_store.session("s").append("user", "x")
        assert "`dal schema check`" in str(refused.value)
        assert len(refused.value.differences) <= 2, "the change, and a constraint that depends on it"


@pytest.mark.parametrize("change", NOTES)
def test_a_note_is_only_logged(alter, sync_store, found, caplog, change):
    alter(change)
    with caplog.at_level(logging.DEBUG, logger="dal"):
        sync_store.check_schema()
    (note,) = drift.notes(found())
    assert re.search(NOTES[change], note)
    assert f"schema: {note}" in caplog.messages


@pytest.mark.parametrize("change", UNCHANGED)
def test_irrelevant_changes_are_not_reported(alter, sync_store, found, change):
    alter(change)
    sync_store.check_schema()
    assert drift.notes(found()) == []


def test_the_generated_facts_match_schema_sql_on_this_server(found, tables):
    made = {(one.table_name, one.kind, one.name): one.definition for one in found() if one.kind in drift.KINDS}
    assert made == drift.EXPECTED, "run `uv run .ci/schema_facts.py`"
    wanted = {"dal_schema", "sessions", "messages", "removed_messages", "changes"}
    assert {table for table, _, _ in made} == set(drift.TABLES) == wanted


ERRORS_OF_ANY_VERSION = [
    change for change in ERRORS if any(word in change for word in ("VIEW", "RULE", "TEMPORARY", "UNLOGGED", "other"))
]
"""Errors with tables of any version."""


@pytest.mark.parametrize("change", ERRORS)
def test_newer_tables_are_checked_only_for_their_kind_and_place(alter, sync_store, connection, change):
    connection.execute("INSERT INTO dal_schema VALUES (%s, now(), %s)", [VERSION + 1, VERSION])
    alter(change)
    if change in ERRORS_OF_ANY_VERSION:
        with pytest.raises(dal.SchemaMismatch, match=ERRORS[change]):
            sync_store.check_schema()
    else:
        sync_store.check_schema()


def test_the_command_lists_errors_and_notes(server, schema, alter, tables):
    options = ("--schema", schema, "--dsn", server.conninfo)
    alter("CREATE INDEX own ON messages (created_at)")
    noted = run("schema", "check", *options)
    assert (noted.returncode, noted.stderr) == (0, "")
    assert noted.stdout.startswith("note: index own of messages is not session-dal's: btree (created_at)\nOK: ")
    alter(
        "DROP TABLE changes; ALTER TABLE messages "
        "DROP CONSTRAINT messages_pkey, DROP CONSTRAINT messages_session_id_fkey, ALTER content DROP NOT NULL"
    )
    for command, left in (("check", 4), ("apply", 3), ("check", 3)):
        refused = run("schema", command, *options)
        assert refused.returncode == 1
        errors = re.findall("^error: .*$", refused.stdout, re.MULTILINE)
        assert len(errors) == left, "apply has created the table"
        assert refused.stdout.count("\n") == left
        assert refused.stderr.startswith("dal: session-dal cannot use these tables: ")
        assert ("(and 1 more)" in refused.stderr) == (left == 4)


HIDING = "CREATE TEMPORARY TABLE messages AS TABLE messages"


def test_each_callers_connection_is_checked(side, server, options, tables, connection):
    pool = side.pool(server.conninfo, kwargs=options, min_size=2, max_size=2)
    store = side.store(pool)
    store.session("s").append("user", "x")
    taken = [pool.getconn(), pool.getconn()]
    for one in taken:
        one.execute(HIDING)
        pool.putconn(one)
    with pytest.raises(dal.SchemaMismatch, match="messages in schema pg_temp"):
        for _ in range(2):  # One of the two was checked before the table was created.
            store.session("s").append("user", "x")
    own = side.connect(server.conninfo, **options)
    own.execute(HIDING)
    with pytest.raises(dal.SchemaMismatch, match="messages in schema pg_temp"):
        store.using(own).session("s").append("user", "x")
    own.execute("DROP TABLE pg_temp.messages")
    store.using(own).session("other").append("user", "x")
    own.close()
    pool.close()


@pytest.fixture
def hide(connection, tables):
    """A message "hide" creates temporary tables with the names of our tables, on the connection that stores it."""
    connection.execute(
        """
        CREATE FUNCTION hide() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            name text;
        BEGIN
            FOREACH name IN ARRAY '{dal_schema,sessions,messages,removed_messages,changes}'::text[] LOOP
                EXECUTE format('CREATE TEMPORARY TABLE %1$I AS TABLE %2$I.%1$I', name, TG_TABLE_SCHEMA);
            END LOOP;
            RETURN NULL;
        END
        $$;
        CREATE TRIGGER hide AFTER INSERT ON messages
        FOR EACH ROW WHEN (NEW.content = 'hide') EXECUTE FUNCTION hide()
        """
    )
    return connection


@pytest.mark.parametrize("by", ["schema", "options"])
def test_temporary_tables_do_not_hide_ours_on_our_own_pool(side, server, schema, hide, by):
    where = {"schema": schema} if by == "schema" else {}
    conninfo = make_conninfo(server.conninfo, **({} if where else {"options": f"-c search_path={schema},public"}))
    with side.connect_store(conninfo, max_size=1, **where) as store:
        store.session("s").append("user", "hide")
        stored = store.session("s").append("user", "second")
        assert stored.sequence == 1
        assert store.session("s").messages()[1] == stored
        assert hide.execute("SELECT count(*) FROM messages").fetchone() == (2,)
        exported = [line.replace(b'"hide"', b'"hidden"') for line in store.export()]
        hide.execute("DELETE FROM sessions")
        assert store.import_(exported).messages == 2
        assert [message.content for message in store.session("s").messages()] == ["hidden", "second"]
        store.check_schema()


@pytest.mark.parametrize("table", ["sessions", "messages"])
def test_a_temporary_table_created_after_the_check_gets_no_message(side, server, options, tables, table):
    """On a caller's connection, which is checked only before its first statement."""
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    store.session("s").append("user", "first")
    raw.execute(f"CREATE TEMPORARY TABLE {table} (LIKE {table} INCLUDING ALL)")
    pair = [(unwrap(store.session("s")), dal.NewMessage(role="user", content="x")) for _ in range(2)]
    for append in (
        lambda: store.session("s").append("user", "second"),
        lambda: store.session("s").append_all([dal.NewMessage(role="user", content="x") for _ in range(2)]),
        lambda: store.append_all(pair),
    ):
        with pytest.raises(dal.SchemaMismatch, match=f"{table} in schema pg_temp_.* is a temporary table"):
            append()
    raw.execute(f"DROP TABLE pg_temp.{table}")
    assert store.session("s").append("user", "second").sequence == 1
    raw.close()


def test_a_connection_is_checked_once(side, server, options, tables):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    trips = []
    for _ in range(3):
        with wire.watch(unwrap(raw)) as watched:
            store.using(raw).session("s").latest()
        trips.append(watched.round_trips)
    assert trips == [2, 1, 1]
    raw.close()
