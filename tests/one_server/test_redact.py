"""No error shows content, although PostgreSQL quotes rows and values in its messages."""

import json
import logging
import pickle
import traceback
from contextlib import nullcontext
from inspect import isclass

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.pq import DiagnosticField
from sides import unwrap

import dal
from dal import NewMessage
from dal.driver_errors import redact

SECRET = 'planted: "hush" and more'
"""With quotation marks, at which a message must not be cut off."""

FAULTS = {
    "a check constraint": ("ALTER TABLE messages ADD CHECK (content !~ 'planted')", "23514"),
    "a missing value": (
        """CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.role := NULL; RETURN NEW; END $$;
        CREATE TRIGGER act BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION act()""",
        "23502",
    ),
    "a duplicate key": ("CREATE UNIQUE INDEX ON messages (content)", "23505"),
    "a missing key": (
        """CREATE TABLE known (content text PRIMARY KEY);
        ALTER TABLE messages ADD FOREIGN KEY (content) REFERENCES known""",
        "23503",
    ),
    "a value of the wrong type": ("CREATE INDEX ON messages ((content::int))", "22P02"),
    "a statement in a trigger": (
        """CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE format('SELECT 1 / (length(%L) * 0)', NEW.content); RETURN NEW; END $$;
        CREATE TRIGGER act BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION act()""",
        "22012",
    ),
}

NOT_ON_A_CLUSTER = {"a missing value", "a duplicate key", "a missing key", "a statement in a trigger"}
"""Citus has no triggers on distributed tables, and no such unique index and foreign key."""


def chain(error):
    """Return an error, its causes and its contexts."""
    seen, left = [], [error]
    while left:
        one = left.pop()
        if one is not None and one not in seen:
            seen.append(one)
            left += [one.__cause__, one.__context__]
    return seen


def shown(error):
    """Yield every representation of an error, except local variables."""
    for one in chain(error):
        yield from (str(one), repr(one), repr(one.args))
        if isinstance(one, psycopg.Error):
            assert one.pgresult is None or one.pgresult.error_message == b""
            yield from (repr(getattr(one.diag, field.name.lower())) for field in DiagnosticField)
    yield "".join(traceback.format_exception(error))
    yield "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())


def assert_silent(error):
    assert "planted" not in "\n".join(shown(error))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.sqlstate) == (type(error), str(error), error.sqlstate)
    for cause in filter(None, [error.__cause__]):
        again = pickle.loads(pickle.dumps(cause))
        assert (type(again), str(again), again.sqlstate) == (type(cause), str(cause), cause.sqlstate)


@pytest.fixture
def logged(caplog):
    """Capture the log, with tracebacks; at the end, assert that it does not contain the content."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert "planted" not in caplog.text


LINE = json.dumps({"message": {"session_id": "imported", "role": "user", "content": SECRET}})
CALLS = {
    "append": lambda store: store.session().append("user", SECRET),
    "append_all": lambda store: store.session().append_all([NewMessage(role="user", content=SECRET)] * 1),
    "store.append_all": lambda store: store.append_all(
        [(unwrap(store.session()), NewMessage(role="user", content=SECRET)) for _ in range(2)]
    ),
    "import": lambda store: store.import_([LINE]),
    "transaction": lambda store: in_transaction(store),
}


def in_transaction(store):
    with store.transaction() as inside:
        inside.session().append("user", SECRET)


@pytest.mark.parametrize("fault", FAULTS)
def test_content_quoted_by_the_server_is_withheld(server, store, connection, logged, fault):
    if server.kind == "citus" and fault in NOT_ON_A_CLUSTER:
        pytest.skip("Citus refuses what causes the fault")
    harm, state = FAULTS[fault]
    if state == "23505":
        store.session("first").append("user", SECRET)
    connection.execute(harm)
    for name, append in CALLS.items():
        for through in ("store", "writer"):
            with nullcontext(store) if through == "store" else store.writer() as target:
                with pytest.raises(dal.DalError) as refused:
                    append(target)
            logging.getLogger("service").error("refused", exc_info=refused.value)
            assert_silent(refused.value)
            reported = (
                "XX000" if server.kind == "citus" and name == "import" else state
            )  # Citus copies it to the shards.
            error = refused.value
            if server.kind == "citus" and isinstance(error, dal.PartlyRefused):
                error = error.outcomes[0]  # The sessions are on several shards.
            assert error.sqlstate == error.__cause__.sqlstate == reported, name


@pytest.mark.one_server  # A worker names its shard.
def test_names_of_constraints_and_tables_are_kept(store, connection):
    connection.execute("ALTER TABLE messages ADD CONSTRAINT mine CHECK (content !~ 'planted')")
    with pytest.raises(dal.StatementFailed, match='violates check constraint "mine"') as refused:
        store.session().append("user", SECRET)
    cause = refused.value.__cause__
    assert type(cause) is psycopg.errors.CheckViolation
    assert (cause.diag.constraint_name, cause.diag.table_name, cause.diag.severity) == ("mine", "messages", "ERROR")
    assert cause.diag.message_detail == "(withheld: it may quote stored content)"
    assert cause.diag.source_function == "ExecConstraints"


@pytest.mark.parametrize(
    ("state", "primary_message", "redacted"),
    [
        ("22P02", 'invalid input syntax for type integer: "a"planted"b"', 'invalid input syntax for type integer: "…"'),
        ("22P02", "ungültige Eingabesyntax für Typ integer: »planted«", 'ungültige Eingabesyntax für Typ integer: "…"'),
        ("XX000", 'invalid input syntax for type integer: "planted"', 'invalid input syntax for type integer: "…"'),
        ("22001", "value too long for type character varying(3)", "value too long for type character varying(3)"),
        ("22021", 'invalid byte sequence for encoding "UTF8": 0x00', 'invalid byte sequence for encoding "UTF8": 0x00'),
        ("42P01", 'relation "messages" does not exist', 'relation "messages" does not exist'),
    ],
)
def test_a_value_in_the_primary_message_is_withheld(state, primary_message, redacted):
    info = {DiagnosticField.SQLSTATE: state.encode(), DiagnosticField.MESSAGE_PRIMARY: primary_message.encode()}
    error = psycopg.errors.lookup(state)(f"{primary_message}\nDETAIL: planted", info=info)
    redact(error)
    assert str(error) == error.diag.message_primary == redacted


def refuse(store):  # noqa: C901 - one function for each error
    """Yield the errors with which the store itself refuses content."""

    def invalid():
        store.session().append("user", f"{SECRET}\0")

    def not_found():
        store.session("none").update_metadata({"title": SECRET})

    def archived():
        session = store.session("archived")
        session.append("user", SECRET)
        session.archive()
        session.append("user", SECRET)

    def trashed():
        session = store.session("trashed")
        session.append("user", SECRET)
        session.trash()
        session.append("user", SECRET)

    def deleted():
        session = store.session("deleted")
        session.append("user", SECRET)
        session.delete()
        session.append("user", SECRET)

    def exists():
        store.session("exists").append("user", SECRET)
        store.session("exists", metadata={"title": SECRET}).create()

    def conflict():
        for content in (SECRET, f"{SECRET}!"):
            store.session("conflict").append("user", content, message_id="m")

    def partly():
        sessions = [unwrap(store.session(name)) for name in ("archived", "live")]
        store.append_all([(session, NewMessage(role="user", content=SECRET)) for session in sessions])

    def closed():
        with store.transaction() as inside:
            session = inside.session()
        session.append("user", SECRET)

    def overtaken():
        store.session("live").append("user", SECRET, if_next=7, session_metadata={"title": SECRET})

    def no_message():
        store.session("live").redact("none", SECRET)

    refusals = (invalid, not_found, archived, trashed, deleted, exists, conflict, partly, closed, overtaken, no_message)
    for operation in refusals:
        with pytest.raises(dal.DalError) as refused:
            operation()
        yield refused.value


def time_out(store, connection):
    """Wait for a lock until the deadline."""
    store.check_schema()
    with connection.transaction():
        connection.execute("LOCK messages")
        store.session().append("user", SECRET)


def mismatch_schema(store, connection):
    connection.execute("ALTER TABLE messages RENAME TO away")
    try:
        store.session().append("user", SECRET)
    finally:
        connection.execute("ALTER TABLE away RENAME TO messages")


def fail_statement(store, connection):
    connection.execute("ALTER TABLE messages ADD CHECK (content !~ 'planted') NOT VALID")
    store.session().append("user", SECRET)


@pytest.mark.usefixtures("logged")
def test_no_error_class_shows_content(side, server, schema, connection, store):
    errors = list(refuse(store))
    conninfo = make_conninfo(server.conninfo, options="-c statement_timeout=0")
    with (
        side.connect_store(conninfo, schema=schema, timeout=1.0, retries=0) as short_timeout,
        side.connect_store("host=127.0.0.1 port=1", timeout=0.5) as nowhere,
    ):
        for cause in (time_out, mismatch_schema, fail_statement):
            with pytest.raises(dal.DalError) as refused:
                cause(short_timeout, connection)
            errors.append(refused.value)
        with pytest.raises(dal.ServerUnavailable) as refused:
            nowhere.session().append("user", SECRET)
        errors.append(refused.value)
    classes = {one for name in dal.__all__ if isclass(one := getattr(dal, name)) and issubclass(one, dal.DalError)}
    assert {type(error) for error in errors} == classes - {dal.DalError}
    for error in errors:
        logging.getLogger("service").error("refused", exc_info=error)
        assert_silent(error)


def test_errors_of_the_services_own_sql_are_not_changed(store, connection):
    """Also if it is being handled when an operation of the store fails."""
    connection.execute("ALTER TABLE messages ADD CHECK (content !~ 'planted')")
    with pytest.raises(dal.StatementFailed), store.transaction():
        try:
            connection.execute("SELECT 'planted'::int")
        except psycopg.Error as mine:
            handled = mine
            store.session().append("user", SECRET)
    assert "planted" in str(handled)
