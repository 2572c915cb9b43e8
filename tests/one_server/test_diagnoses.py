"""Errors caused by triggers, policies or indexes that a service added to the tables name the cause."""

from secrets import token_hex

import psycopg
import pytest
from psycopg import sql
from sides import unwrap

import dal
from dal.retries import Failure, classify

BAD_TRIGGERS = {
    "42P01": "INSERT INTO audit_that_is_gone VALUES (NEW.content)",
    "42703": "NEW.nope = 1",
    "42883": "PERFORM nope(NEW.content)",
    "42704": "PERFORM NEW.content::nope",
    "42501": "RAISE insufficient_privilege",
}
"""A statement in a service's own trigger that raises this SQLSTATE."""


@pytest.fixture
def trigger(connection):
    """Create a service's own trigger on a table."""

    def make(table, statements, events="INSERT"):
        body = sql.Literal(f"BEGIN {statements}; END")
        connection.execute(sql.SQL("CREATE FUNCTION own_trigger() RETURNS trigger LANGUAGE plpgsql AS {}").format(body))
        connection.execute(f"CREATE TRIGGER own BEFORE {events} ON {table} FOR EACH ROW EXECUTE FUNCTION own_trigger()")

    return make


def two_messages(role="user"):
    return [dal.NewMessage(role=role, content="secret"), dal.NewMessage(role=role, content="secret")]


def append_to_many(store, session):
    with pytest.raises(dal.PartlyRefused) as partly:
        store.append_all([(unwrap(session), two_messages()[0]), (unwrap(store.session("taken")), two_messages()[1])])
    refused, taken = partly.value.outcomes
    assert taken.session_id == "taken"
    raise refused


def append_through_a_writer(store, session):
    with store.writer() as writer:
        writer.session(session.id).append("user", "secret")


APPENDS = {
    "append": lambda _, session: session.append("user", "secret"),
    "append_all": lambda _, session: session.append_all(two_messages()),
    "of many sessions": append_to_many,
    "writer": append_through_a_writer,
}


@pytest.mark.parametrize("append", APPENDS.values(), ids=APPENDS)
@pytest.mark.parametrize("table", ["sessions", "messages"])
def test_a_trigger_that_suppresses_a_row_is_named(store, trigger, connection, append, table):
    session = store.session("s")
    session.append("user", "first")
    trigger(table, "IF NEW.session_id = 's' THEN RETURN NULL; END IF; RETURN NEW", "INSERT OR UPDATE")
    with pytest.raises(dal.StatementFailed, match="trigger.*suppressed.*pg_trigger") as refused:
        append(store, session)
    assert "secret" not in str(refused.value)
    assert connection.execute("SELECT count(*) FROM messages WHERE session_id = 's'").fetchone() == (1,)
    assert session.record().status == "active"


def test_a_trigger_that_suppresses_a_first_message_is_named(store, trigger):
    trigger("sessions", "RETURN NULL")
    with pytest.raises(dal.StatementFailed, match="trigger.*suppressed"):
        store.session("s").append("user", "x")


def test_an_archived_session_is_not_mistaken_for_a_suppressed_row(store, trigger):
    session = store.session("s")
    session.append("user", "x")
    session.archive()
    trigger("messages", "RETURN NULL")
    for append in (APPENDS["append"], APPENDS["append_all"], APPENDS["writer"]):
        with pytest.raises(dal.SessionArchived):
            append(store, session)


@pytest.mark.parametrize("method", ["pause", "archive", "update_metadata"])
def test_a_suppressed_change_is_not_mistaken_for_a_missing_session(store, trigger, method):
    arguments = [{"title": "x"}] if method == "update_metadata" else []
    session = store.session("s")
    session.append("user", "x")
    trigger("sessions", "RETURN NULL", "UPDATE")
    with pytest.raises(dal.StatementFailed, match="suppressed"):
        getattr(session, method)(*arguments)
    with pytest.raises(dal.SessionNotFound):
        getattr(store.session("none"), method)(*arguments)


@pytest.mark.parametrize("state", BAD_TRIGGERS)
def test_an_error_in_a_trigger_is_not_mistaken_for_a_missing_schema(store, trigger, state):
    trigger("messages", f"{BAD_TRIGGERS[state]}; RETURN NEW")
    with pytest.raises(dal.StatementFailed, match=rf"own_trigger\(\).*\[messages.append, {state}\]") as refused:
        store.session("s").append("user", "secret")
    assert "secret" not in str(refused.value)
    assert "dal schema" not in str(refused.value)


@pytest.fixture
def under_policy(connection, schema, tables):
    """Switch to a database role for which row-level security refuses messages of the role "system"."""
    role = sql.Identifier(f"dal_test_{token_hex(4)}")
    for statement in (
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY no_system ON messages USING (true) WITH CHECK (role <> 'system')",
        "CREATE ROLE {role}",
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}",
        "SET ROLE {role}",
    ):
        connection.execute(sql.SQL(statement).format(role=role, schema=sql.Identifier(schema)))
    yield
    connection.execute(sql.SQL("RESET ROLE; DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def test_row_level_security_is_not_mistaken_for_a_missing_grant(under_policy, sync_store):
    session = sync_store.session("s")
    session.append("user", "x")
    for append in (lambda: session.append("system", "secret"), lambda: session.append_all(two_messages("system"))):
        with pytest.raises(dal.StatementFailed, match="row-level security is on.*pg_policies") as refused:
            append()
        assert "dal schema grants" not in str(refused.value)
        assert "secret" not in str(refused.value)


def test_orphaned_messages_are_not_mistaken_for_a_duplicate(store, connection):
    store.session("s").append("user", "old")
    connection.execute("SET session_replication_role = replica")
    connection.execute("DELETE FROM sessions")
    for append in APPENDS.values():
        with pytest.raises(dal.StatementFailed, match="outlived") as refused:
            append(store, store.session("s"))
        assert refused.value.sqlstate == "23505"
        assert classify(refused.value.__cause__) is Failure.REFUSED
    with pytest.raises(dal.StatementFailed, match="outlived"):
        store.import_(['{"message": {"session_id": "s", "role": "user", "content": "x"}}'])


def test_a_services_unique_index_is_not_mistaken_for_a_duplicate(store, connection):
    connection.execute("CREATE UNIQUE INDEX one_of_each ON messages (session_id, content)")
    session = store.session("s")
    session.append("user", "secret")
    for append in APPENDS.values():
        with pytest.raises(dal.StatementFailed, match="one_of_each") as refused:
            append(store, session)
        assert classify(refused.value.__cause__) is Failure.REFUSED
        assert "secret" not in str(refused.value)
    with pytest.raises(dal.StatementFailed, match="one_of_each") as refused:
        store.import_(['{"message": {"session_id": "s", "role": "user", "content": "secret"}}'])
    assert "secret" not in str(refused.value)


def test_a_unique_violation_without_a_constraint_name_counts_as_a_duplicate():
    assert classify(psycopg.errors.UniqueViolation("as Citus reports it")) is Failure.UNDONE
