"""Tables and domains with our names that another role has created are never used."""

import psycopg
import pytest
from program import run
from psycopg import sql

import dal
from dal.conninfo import with_schema
from dal.schema import grants, migrations
from dal.sql import SCHEMA

SPY = """
CREATE TABLE stolen (content text);
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO stolen VALUES (NEW.content); RETURN NEW; END $$;
GRANT ALL ON stolen TO PUBLIC;
CREATE TRIGGER spy BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION spy();
GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO PUBLIC;
"""

PLANTED = {
    "all tables, with a trigger that copies": SCHEMA.read_text(encoding="utf-8") + SPY,
    "one table": "CREATE TABLE messages (LIKE pg_class)",
    "the table of versions": "CREATE TABLE dal_schema (version integer, usable_from integer)",
    "a view": "CREATE VIEW sessions AS SELECT 1 AS session_id",
    "a domain": "CREATE DOMAIN dal_identifier AS text",
    "a view that runs code": """
        CREATE FUNCTION run() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN RAISE EXCEPTION 'ran as %%', current_user; END $$;
        CREATE VIEW dal_schema AS SELECT run() AS version, 1 AS usable_from;
    """,
}
"""SQL that a role runs which may create tables in the schema."""


@pytest.fixture
def owner(server, schema):
    """A connection as the owner of the schema, which is empty."""
    with psycopg.connect(with_schema(server.conninfo, schema), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        yield connection


@pytest.fixture
def stranger(owner, make_role, schema):
    """A role that may create tables in the schema, and its connection."""
    name, conninfo = make_role()
    owner.execute(sql.SQL("GRANT ALL ON SCHEMA {} TO {}").format(sql.Identifier(schema), sql.Identifier(name)))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield name, connection


@pytest.fixture
def plant(stranger, schema):
    def plant(planted):
        stranger[1].execute(PLANTED[planted].replace("{schema}", schema).replace("%%", "%").encode())

    return plant


@pytest.mark.parametrize("planted", PLANTED)
def test_tables_of_another_role_are_refused(side, server, schema, owner, plant, stranger, planted):  # noqa: PLR0917
    plant(planted)
    before = owner.execute("SELECT count(*) FROM pg_class").fetchone()
    with pytest.raises(psycopg.errors.DuplicateTable, match=rf"not session-dal's tables.*{stranger[0]}"):
        owner.execute(SCHEMA.read_bytes())
    with side.connect_store(with_schema(server.conninfo, schema)) as store:
        with pytest.raises(dal.SchemaMismatch, match=f"{stranger[0]}.*choose a schema of its own"):
            store.apply_schema()
        with pytest.raises(dal.SchemaMismatch):
            store.session("s").append("user", "secret")
    assert owner.execute("SELECT count(*) FROM pg_class").fetchone() == before
    if "copies" in planted:
        assert owner.execute("SELECT count(*) FROM stolen").fetchone() == (0,)


COMMANDS = {
    "apply": lambda *_: ("apply",),
    "check": lambda *_: ("check",),
    "upgrade": lambda *_: ("upgrade",),
    "grants": lambda name: ("grants", name, "--apply"),
}


@pytest.mark.parametrize("command", ["apply", "grants"])
def test_commands_refuse_tables_of_another_role(server, schema, plant, stranger, command):
    plant("all tables, with a trigger that copies")
    done = run("schema", *COMMANDS[command](stranger[0]), "--schema", schema, "--dsn", server.conninfo)
    assert done.returncode == 1
    assert f"{stranger[0]}" in done.stderr
    assert "Granted" not in done.stdout


@pytest.mark.parametrize("command", ["check", "upgrade", "grants"])
def test_no_command_runs_a_planted_view(server, schema, plant, stranger, command):
    plant("a view that runs code")
    done = run("schema", *COMMANDS[command](stranger[0]), "--schema", schema, "--dsn", server.conninfo)
    assert done.returncode == 1
    assert "ran as" not in done.stderr
    assert "dal_schema is a view" in done.stderr


def test_tables_of_a_member_of_the_schemas_owner_are_accepted(owner, make_role, schema):
    """A group owns the schema, a member applies the file, and another service connects."""
    (group, _), (member, member_conninfo), (service, service_conninfo) = make_role(), make_role(), make_role()
    names = {"schema": schema, "grp": group, "member": member, "service": service}
    for statement in ("ALTER SCHEMA {schema} OWNER TO {grp}", "GRANT {grp} TO {member}"):
        owner.execute(sql.SQL(statement).format(**{name: sql.Identifier(value) for name, value in names.items()}))
    with dal.SessionStore.connect(member_conninfo) as store:
        store.apply_schema()
        store.apply_schema()
        store.session("s").append("user", "x")
    owner.execute(grants.grants(owner, service, read_only=False))
    with dal.SessionStore.connect(service_conninfo) as store:
        assert store.session("s").append("user", "x").sequence == 1


def test_tables_of_the_connecting_role_are_accepted(stranger):
    store = dal.SessionStore(stranger[1])
    store.apply_schema()
    assert store.session("s").append("user", "x").sequence == 0


def test_tables_that_change_their_owner_are_refused(owner, stranger):
    store = dal.SessionStore(owner)
    store.apply_schema()
    assert migrations.missing(owner) == []
    owner.execute(sql.SQL("ALTER TABLE changes OWNER TO {}").format(sql.Identifier(stranger[0])))
    for attempt in (lambda: store.session("s").latest(), store.apply_schema, lambda: migrations.missing(owner)):
        with pytest.raises(dal.SchemaMismatch, match=stranger[0]):
            attempt()
