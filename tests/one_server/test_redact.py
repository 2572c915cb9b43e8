"""No error shows stored content: PostgreSQL quotes rows and values, and the driver repeats what it says."""

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
from dal.errors import redact

SECRET = 'planted: "hush" and more'
"""With quotation marks inside, at which a message must not be cut."""

FAULTS = {
    "a row that a constraint refuses": ("ALTER TABLE messages ADD CHECK (content !~ 'planted')", "23514"),
    "a row without a value": (
        """CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.role := NULL; RETURN NEW; END $$;
        CREATE TRIGGER act BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION act()""",
        "23502",
    ),
    "a key that is there": ("CREATE UNIQUE INDEX ON messages (content)", "23505"),
    "a key that is missing": (
        """CREATE TABLE known (content text PRIMARY KEY);
        ALTER TABLE messages ADD FOREIGN KEY (content) REFERENCES known""",
        "23503",
    ),
    "a value of another type": ("CREATE INDEX ON messages ((content::int))", "22P02"),
    "a statement in a trigger": (
        """CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE format('SELECT 1 / (length(%L) * 0)', NEW.content); RETURN NEW; END $$;
        CREATE TRIGGER act BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION act()""",
        "22012",
    ),
}


def chain(error):
    """An error, and all that led to it, whether it is shown or not."""
    seen, left = [], [error]
    while left:
        one = left.pop()
        if one is not None and one not in seen:
            seen.append(one)
            left += [one.__cause__, one.__context__]
    return seen


def shown(error):
    """Everything that a report of an error could show, but for local variables."""
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
    """Everything that is logged, with its tracebacks; at the end none of it has the content."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert "planted" not in caplog.text


LINE = json.dumps({"message": {"session_id": "imported", "role": "user", "content": SECRET}})
WAYS = {
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
def test_what_the_server_quotes_is_withheld(store, connection, logged, fault):
    harm, state = FAULTS[fault]
    if state == "23505":
        store.session("first").append("user", SECRET)
    connection.execute(harm)
    for name, append in WAYS.items():
        for through in ("store", "writer"):
            with nullcontext(store) if through == "store" else store.writer() as way:
                with pytest.raises(dal.DalError) as refused:
                    append(way)
            logging.getLogger("service").error("refused", exc_info=refused.value)
            assert_silent(refused.value)
            assert refused.value.sqlstate == refused.value.__cause__.sqlstate == state, name


def test_what_names_the_cause_stays(store, connection):
    connection.execute("ALTER TABLE messages ADD CONSTRAINT mine CHECK (content !~ 'planted')")
    with pytest.raises(dal.StatementFailed, match='violates check constraint "mine"') as refused:
        store.session().append("user", SECRET)
    cause = refused.value.__cause__
    assert type(cause) is psycopg.errors.CheckViolation
    assert (cause.diag.constraint_name, cause.diag.table_name, cause.diag.severity) == ("mine", "messages", "ERROR")
    assert cause.diag.message_detail == "(withheld: it may quote stored content)"
    assert cause.diag.source_function == "ExecConstraints"


@pytest.mark.parametrize(
    ("state", "said", "told"),
    [
        ("22P02", 'invalid input syntax for type integer: "a"planted"b"', 'invalid input syntax for type integer: "…"'),
        ("22P02", "ungültige Eingabesyntax für Typ integer: »planted«", 'ungültige Eingabesyntax für Typ integer: "…"'),
        ("22001", "value too long for type character varying(3)", "value too long for type character varying(3)"),
        ("22021", 'invalid byte sequence for encoding "UTF8": 0x00', 'invalid byte sequence for encoding "UTF8": 0x00'),
        ("42P01", 'relation "messages" does not exist', 'relation "messages" does not exist'),
    ],
)
def test_a_value_in_the_main_message_is_withheld(state, said, told):
    info = {DiagnosticField.SQLSTATE: state.encode(), DiagnosticField.MESSAGE_PRIMARY: said.encode()}
    error = psycopg.errors.lookup(state)(f"{said}\nDETAIL: planted", info=info)
    redact(error)
    assert str(error) == error.diag.message_primary == told


def refuse(store):
    """Have the store refuse content that is planted, for each reason of its own; give the errors."""

    def invalid():
        store.session().append("user", f"{SECRET}\0")

    def not_found():
        store.session("none").update_metadata({"title": SECRET})

    def archived():
        session = store.session("archived")
        session.append("user", SECRET)
        session.archive()
        session.append("user", SECRET)

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

    for operation in (invalid, not_found, archived, conflict, partly, closed):
        with pytest.raises(dal.DalError) as refused:
            operation()
        yield refused.value


def late(store, connection):
    """Wait for a lock until the deadline, of which the server was not told."""
    store.check_schema()
    with connection.transaction():
        connection.execute("LOCK messages")
        store.session().append("user", SECRET)


def mismatch(store, connection):
    connection.execute("ALTER TABLE messages RENAME TO away")
    try:
        store.session().append("user", SECRET)
    finally:
        connection.execute("ALTER TABLE away RENAME TO messages")


def failed(store, connection):
    connection.execute("ALTER TABLE messages ADD CHECK (content !~ 'planted') NOT VALID")
    store.session().append("user", SECRET)


@pytest.mark.usefixtures("logged")
def test_no_class_of_error_shows_content(side, server, schema, connection, store):
    errors = list(refuse(store))
    conninfo = make_conninfo(server.conninfo, options="-c statement_timeout=0")
    with (
        side.connect_store(conninfo, schema=schema, timeout=1.0, retries=0) as brief,
        side.connect_store("host=127.0.0.1 port=1", timeout=0.5) as nowhere,
    ):
        for cause in (late, mismatch, failed):
            with pytest.raises(dal.DalError) as refused:
                cause(brief, connection)
            errors.append(refused.value)
        with pytest.raises(dal.ServerUnavailable) as refused:
            nowhere.session().append("user", SECRET)
        errors.append(refused.value)
    classes = {one for name in dal.__all__ if isclass(one := getattr(dal, name)) and issubclass(one, dal.DalError)}
    assert {type(error) for error in errors} == classes - {dal.DalError}
    for error in errors:
        logging.getLogger("service").error("refused", exc_info=error)
        assert_silent(error)


def test_an_error_of_the_services_own_sql_is_left_alone(store, connection):
    """Also one that is being handled when an operation of the store fails."""
    connection.execute("ALTER TABLE messages ADD CHECK (content !~ 'planted')")
    with pytest.raises(dal.StatementFailed), store.transaction():
        try:
            connection.execute("SELECT 'planted'::int")
        except psycopg.Error as mine:
            handled = mine
            store.session().append("user", SECRET)
    assert "planted" in str(handled)
