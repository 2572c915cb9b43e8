"""Roles have the privileges that they need, and no others."""

import psycopg
import pytest
from program import assert_fails, run
from psycopg import sql
from test_round_trips import SESSION_CALLS, STORE_CALLS
from ulid import ULID

import dal
from dal.schema import grants
from dal.schema.check import SchemaCheck

READS = {
    "agent_ids",
    "changes",
    "count_sessions",
    "latest",
    "message",
    "messages",
    "open",
    "record",
    "removed",
    "check_schema",
    "sessions",
}
"""The methods that a read-only role can call."""

UNNOTICED = {"delete_idle", "erase_user", "purge"}
"""The methods that on a cluster return nothing, even for a role that may not delete, if there is nothing to delete."""

PRIVILEGES = """
SELECT c.relname::text, a.privilege_type, NULL
FROM pg_class AS c, aclexplode(c.relacl) AS a
WHERE c.relnamespace = current_schema()::regnamespace AND a.grantee = %(role)s::text::regrole
UNION ALL
SELECT c.relname::text, a.privilege_type, t.attname::text
FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
WHERE c.relnamespace = current_schema()::regnamespace AND a.grantee = %(role)s::text::regrole
ORDER BY 1, 2, 3
"""


REFUSED_BY_CITUS = {"SELECT FROM messages FOR UPDATE", "UPDATE sessions SET session_id = 'other'"}
"""Statements that Citus refuses for everybody, for another reason."""


@pytest.fixture
def role(make_role):
    return make_role()


@pytest.fixture
def command(server, schema):
    """Run `dal schema grants` on the test's schema."""
    return lambda *arguments: run("schema", "grants", *arguments, "--schema", schema, "--dsn", server.conninfo)


def grant(connection, role, **options):
    with connection.transaction():
        connection.execute(grants.grants(connection, role, **options))


def privileges(connection, role):
    return connection.execute(PRIVILEGES, {"role": sql.Identifier(role).as_string()}).fetchall()


def errors_by_method(store, owner):
    """Call every method, on active and on archived sessions; return the errors by method."""
    found = {}
    for calls, target in ((SESSION_CALLS, lambda name: store.session(name)), (STORE_CALLS, lambda _: store)):
        for method, call in calls.items():
            for status in ("active", "archived"):
                session = owner.session(f"{method}-{status}-{ULID()}")
                session.append("user", "first", message_id="m0", agent_id="b")
                session.append("user", "second", agent_id="a")
                if status == "archived":
                    session.archive()
                try:
                    call(target(session.id))
                except dal.SessionArchived:
                    pass
                except dal.StatementFailed as error:
                    found[method] = error
                except dal.PartlyRefused as error:  # On a cluster, a call for several shards is several statements.
                    found[method] = error.outcomes[0]
    assert {error.sqlstate for error in found.values()} <= {"42501"}
    return found


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [((), {"annotate", "redact"}), (("annotate",), {"redact"}), (("redact",), set()), (("annotate", "redact"), set())],
    ids=["", "annotate", "redact", "both"],
)
def test_every_method_works_for_a_service(side, connection, sync_store, role, allowed, refused):  # noqa: PLR0917 - fixtures
    name, conninfo = role
    grant(connection, name, **dict.fromkeys(allowed, True))
    with side.connect_store(conninfo) as store:
        assert set(errors_by_method(store, sync_store)) == {"apply_schema"} | refused
        with store.transaction() as inside:
            session = inside.session(f"new-{ULID()}")
            assert session.append("user", "x").sequence == 0
            session.remove_from(0)
            assert session.delete(), "its messages and removals are deleted with it"
        uncached = sync_store.session("uncached")
        uncached.append("user", "x", agent_id="a")
        uncached.archive()
        assert store.agent_ids(["uncached"]) == {"uncached": ("a",)}
        assert uncached.record().agent_ids == ("a",)


@pytest.mark.parametrize("option", [None, "annotate", "redact"])
def test_a_service_needs_each_of_its_privileges(server, connection, sync_store, role, option):
    name, conninfo = role
    grant(connection, name)
    given = privileges(connection, name)
    assert len(given) == 5 + 13 + 10 + 8 + 1 + 2 + 4
    refused = {"apply_schema", "annotate", "redact"}
    if option is not None:  # Only what it adds: the others are needed without it.
        grant(connection, name, **{option: True})
        given = [one for one in privileges(connection, name) if one not in given]
        assert len(given) == {"annotate": 1, "redact": 4}[option]
        refused -= {"annotate", option}
    before = privileges(connection, name)
    with dal.SessionStore.connect(conninfo) as store:
        for table, privilege, column in given:
            if server.kind == "citus" and table == "removed_messages" and privilege in {"DELETE", "UPDATE"}:
                continue  # There, `purge` needs them only if there is something to delete.
            where = sql.SQL("{} ON {}").format(
                sql.SQL(privilege) + (sql.SQL("({})").format(sql.Identifier(column)) if column else sql.SQL("")),
                sql.Identifier(table),
            )
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(where, sql.Identifier(name)))
            store._backend.runner.schema = SchemaCheck()
            assert set(errors_by_method(store, sync_store)) - refused, (table, privilege, column)
            connection.execute(sql.SQL("GRANT {} TO {}").format(where, sql.Identifier(name)))
    assert privileges(connection, name) == before


@pytest.mark.parametrize("kind", [{}, {"read_only": True}], ids=["service", "analyst"])
@pytest.mark.parametrize(
    "forbidden",
    [
        "CREATE TABLE mine (id integer)",
        "ALTER TABLE sessions ADD COLUMN mine integer",
        "DROP TABLE changes",
        "CREATE INDEX ON messages (role)",
        "TRUNCATE messages",
        "TRUNCATE sessions CASCADE",
        "INSERT INTO dal_schema (version) VALUES (99)",
        "UPDATE dal_schema SET version = 99",
        "DELETE FROM dal_schema",
        "UPDATE messages SET content = 'other'",
        "UPDATE messages SET metadata = 'null'",
        "UPDATE removed_messages SET content = 'other'",
        "SELECT FROM messages FOR UPDATE",
        "UPDATE messages SET sequence = 7",
        "UPDATE sessions SET user_id = 'me'",
        "UPDATE sessions SET session_id = 'other'",
        "UPDATE sessions SET created_at = now()",
        "INSERT INTO sessions (session_id, archived_at) VALUES ('s', now())",
        "UPDATE changes SET messages = 7",
        "DELETE FROM dal_schema WHERE version = 1",
        "CREATE TRIGGER t AFTER INSERT ON messages EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "SELECT * FROM elsewhere.sessions",
        "CREATE SCHEMA mine",
    ],
)
def test_privileges_that_no_role_has(server, connection, sync_store, role, forbidden, kind):  # noqa: PLR0917 - fixtures
    if server.kind == "citus" and forbidden in REFUSED_BY_CITUS:
        pytest.skip("Citus refuses the statement before it checks the privileges")
    name, conninfo = role
    grant(connection, name, **kind)
    other = sql.Identifier(f"other_{ULID()}")
    if "elsewhere" in forbidden:
        connection.execute(sql.SQL("CREATE SCHEMA {0}; CREATE TABLE {0}.sessions (id integer)").format(other))
    with psycopg.connect(conninfo) as mine, pytest.raises(psycopg.errors.InsufficientPrivilege):
        mine.execute(sql.SQL(forbidden.replace("elsewhere", "{other}")).format(other=other))
    connection.execute("SET client_min_messages = warning")
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(other))


def test_an_analyst_can_only_read(side, server, connection, sync_store, role):
    name, conninfo = role
    harmless = READS | (UNNOTICED if server.kind == "citus" else set())
    grant(connection, name, read_only=True)
    made = 2 * (len(SESSION_CALLS) + len(STORE_CALLS))
    with side.connect_store(conninfo, read_only=True) as store:
        errors = errors_by_method(store, sync_store)
        assert set(SESSION_CALLS) | set(STORE_CALLS) == set(errors) | harmless
        assert not set(errors) & harmless
        for error in errors.values():
            assert "permission denied" in str(error)
            assert "a role that only reads needs a store with read_only=True" in str(error)
        with store.transaction() as inside:
            assert len(inside.agent_ids([record.session_id for record in inside.sessions(limit=made + 1)])) == made
    stored = connection.execute("SELECT count(*), count(agent_ids), sum(next_sequence) FROM sessions").fetchone()
    assert stored == (made, 0, 2 * made)


def test_a_service_can_import_and_an_analyst_only_export(side, connection, sync_store, make_role):
    (service, conninfo), (analyst, reading) = make_role(), make_role()
    grant(connection, service)
    grant(connection, analyst, read_only=True)
    for name in ("archived", "active"):
        sync_store.session(name).append("user", "x", agent_id="a")
    sync_store.session("archived").archive()
    sync_store.session("archived").agent_ids()
    exported = list(sync_store.export())
    with side.connect_store(conninfo) as store, side.connect_store(reading, read_only=True) as reader:
        for one in (store, reader):
            assert list(one.export()) == exported
            assert len(list(one.session("active").stream())) == 1
        with pytest.raises(
            dal.StatementFailed, match="an import needs what `dal schema grants` gives a service's role"
        ):
            reader.import_(exported)
        connection.execute("DELETE FROM sessions")
        assert store.import_(exported).sessions == 2
    assert list(sync_store.export()) == exported


def test_an_analyst_sees_the_same_agents_as_a_service(side, connection, sync_store, role):
    name, conninfo = role
    grant(connection, name, read_only=True)
    for n, status in enumerate(("active", "archived", "cached", "silent", "archived and silent")):
        session = sync_store.session(status)
        for agent in ("b", None, "a", "b", "c")[: 5 if n < 3 else 0]:
            session.append("assistant", "x", agent_id=agent)
        if "silent" in status:
            session.append("user", "x")
        if status not in {"active", "silent"}:
            session.archive()
        if status == "cached":
            session.agent_ids()
    wanted = ["active", "archived", "cached", "silent", "archived and silent", "not stored"]
    with side.connect_store(conninfo, read_only=True) as store:
        found = store.agent_ids(wanted)
        assert store.session("archived").agent_ids() == ("b", "a", "c")
    assert sync_store.session("archived").record().agent_ids is None
    assert found == sync_store.agent_ids(wanted)


def test_a_list_of_agents_without_read_only_says_what_to_do(side, connection, sync_store, role):
    name, conninfo = role
    grant(connection, name, read_only=True)
    sync_store.session("s").append("user", "x", agent_id="a")
    sync_store.session("s").archive()
    with side.connect_store(conninfo) as store:
        with pytest.raises(dal.StatementFailed, match=r"read_only=True.*\[sessions.agent_ids, 42501\]"):
            store.agent_ids(["s"])


@pytest.mark.one_server  # The setting does not reach the workers.
def test_a_read_only_server_can_list_agents(side, server, options, sync_store):
    sync_store.session("s").append("user", "x", agent_id="a")
    sync_store.session("s").archive()
    standby = options | {"options": f"{options['options']} -c default_transaction_read_only=on"}
    raw = side.connect(server.conninfo, **standby)
    assert side.store(raw, read_only=True).agent_ids(["s"]) == {"s": ("a",)}
    with pytest.raises(dal.ServerUnavailable, match="only reads"):
        side.store(raw).agent_ids(["s"])
    raw.close()


def test_printed_and_applied_grants_are_the_same(command, schema, connection, tables, make_role):
    (printed, _), (applied, _) = make_role(), make_role()
    for kind in ((), ("--annotate", "--redact"), ("--read-only",)):
        shown = command(printed, *kind)
        assert (shown.returncode, shown.stderr) == (0, "")
        before = privileges(connection, printed)
        assert before == ([] if not kind else privileges(connection, applied)), "printing grants nothing"
        connection.execute(shown.stdout.encode())
        for _ in range(2):
            done = command(applied, *kind, "--apply")
            assert (done.returncode, done.stderr) == (0, "")
            assert f"Granted to {applied}, in schema {schema}" in done.stdout
        assert privileges(connection, printed) == privileges(connection, applied)
    assert {privilege for _, privilege, _ in privileges(connection, applied)} == {"SELECT"}, (
        "the other privileges were revoked"
    )


@pytest.mark.parametrize("suffix", ['" TO postgres; DROP TABLE messages; --', "'; --", " ü {schema} %s \\", "[bold]"])
def test_role_names_are_quoted(command, tables, make_role, suffix):
    name, conninfo = make_role(suffix)
    done = command(name, "--apply")
    assert (done.returncode, done.stderr) == (0, "")
    with dal.SessionStore.connect(conninfo) as store:
        assert store.session().append("user", "x").sequence == 0


@pytest.mark.parametrize("option", ["--annotate", "--redact"])
def test_a_role_that_only_reads_cannot_change_messages(command, tables, role, option):
    assert_fails(command(role[0], "--read-only", option), "read_only: does not go with annotate or redact")


@pytest.mark.parametrize("name", ["nobody at all", "PUBLIC", "public", "CURRENT_USER"])
def test_an_unknown_role_is_an_error(command, tables, name):
    assert_fails(command(name), f"role: no role is named {name!r}; create it first")


def test_grants_to_the_owner_are_refused(command, connection, sync_store):
    owner = connection.info.user
    assert_fails(command(owner, "--apply"), f"{owner!r} owns the tables")
    assert sync_store.session().append("user", "x").sequence == 0


def test_grants_without_tables_are_an_error(command, role):
    assert_fails(command(role[0]), "run `dal schema apply`", status=1)


def test_a_read_only_store_can_be_confined(side, server, schema, tables, sync_store):
    for user in ("u1", "u2"):
        sync_store.session(user, user_id=user).append("user", "x", agent_id="a")
        sync_store.session(user).archive()
    with side.connect_store(server.conninfo, schema=schema, read_only=True) as store:
        assert store.for_user("u1").agent_ids(["u1", "u2"]) == {"u1": ("a",), "u2": ()}
        with store.transaction() as inside:
            assert inside.for_user("u2").agent_ids(["u1", "u2"]) == {"u1": (), "u2": ("a",)}
    assert {record.agent_ids for record in sync_store.sessions()} == {None}, "no list was cached"
