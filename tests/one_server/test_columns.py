"""Every column of the tables goes every way: written by each verb, read by each, exported, and imported again."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from sides import pool_of, unwrap
from test_histories import exported, other  # noqa: F401 - a fixture

import dal

DERIVED = {
    "listed_at": "the place in lists, which follows updated_at",
}
"""Columns that no verb gives or returns, and why: an import computes them anew."""

NOT_EXPORTED = {
    "dal_schema": "it describes the tables, not what is in them",
    "removals": "a removal is remembered so that it can be sent again; an import is a new beginning",
}
"""Tables whose columns an export leaves out, and why."""

SESSION = {"source": "telegram", "user_id": "u1", "parent_id": "p", "metadata": {"title": "x"}}
"""What a caller gives of a session."""

MESSAGE = {"role": "tool", "content": "hello", "agent_id": "a1", "metadata": {"n": 1}, "message_id": "m1"}
"""What a caller gives of a message."""

BEGAN = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
IMPORTED = {
    "session": {
        "session_id": "s", **SESSION, "status": "archived", "next_sequence": 9, "message_count": 1, "agent_ids": ["a1"],
        "created_at": BEGAN, "updated_at": BEGAN + timedelta(days=2), "archived_at": BEGAN + timedelta(days=3),
    },
    "message": {"session_id": "s", **MESSAGE, "sequence": 7, "created_at": BEGAN + timedelta(days=1)},
}  # fmt: skip
"""What an import is given, no two of them alike."""


@pytest.fixture
def columns(connection):
    """Read the columns of a table from the catalog, with their defaults."""

    def read(table):
        found = connection.execute(
            "SELECT column_name, column_default FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name = %s",
            [table],
        )
        return {name: default for name, default in found if name not in DERIVED}

    return read


@pytest.fixture
def stored(connection, columns):
    """Read the only row of a table, of which no column is null or has its default."""

    def read(table):
        names = sql.SQL(", ").join(map(sql.Identifier, columns(table)))
        (row,) = connection.cursor(row_factory=dict_row).execute(
            sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(table))
        ).fetchall()  # fmt: skip
        for name, default in columns(table).items():
            assert row[name] is not None, f"{table}.{name} has no value here: give it one"
            default_value = connection.execute(f"SELECT {default or 'NULL'}").fetchone()[0]
            assert row[name] != default_value, f"{table}.{name} has its default: give it another value here"
        return row

    return read


def append(store):
    store.session("s", **SESSION).append(**MESSAGE)


def append_all(store):
    store.session("s", **SESSION).append_all([dal.NewMessage(**MESSAGE)])


def append_all_of_many(store):
    store.append_all([(unwrap(store.session("s", **SESSION)), dal.NewMessage(**MESSAGE))])


def through_a_writer(store):
    with store.writer() as writer:
        append(writer)


def in_a_transaction(store):
    with store.transaction() as inside:
        append(inside)


def import_(store):
    store.import_(json.dumps({kind: fields}, default=str) for kind, fields in IMPORTED.items())


WAYS = (append, append_all, append_all_of_many, through_a_writer, in_a_transaction)


def write(store, way):
    """Write a session one way, and end it, so that every column has a value."""
    way(store)
    if way is not import_:
        store.session("s").archive()
        store.session("s").agent_ids()


def fields_of(record):
    return {name: getattr(record, name) for name in record.__slots__}


def readings(store):
    """Read the session and its message by every verb."""
    session = store.session("s")
    opened = session.open()
    messages = {
        "latest": session.latest()[0],
        "messages": session.messages()[0],
        "before": session.messages(before=99)[0],
        "message": session.message("m1"),
        "stream": tuple(session.stream())[-1],
        "open": opened.messages[0],
    }
    listings = ({}, {"user_id": "u1"}, {"source": "telegram"}, {"user_id": "u1", "source": "telegram"})
    records = {f"sessions {listing}": store.sessions(**listing).sessions[0] for listing in listings}
    return messages, records | {"record": session.record(), "open": opened.record}


def as_it_is_read(row):
    """Return a row as records have it, which hold no list."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


@pytest.mark.parametrize("way", [*WAYS, import_], ids=lambda way: way.__name__)
def test_every_column_is_written_and_read(store, stored, way):
    write(store, way)
    rows = {"session": stored("sessions"), "message": stored("messages")}
    given = IMPORTED if way is import_ else {"session": SESSION, "message": MESSAGE}
    for kind, row in rows.items():
        assert {name: row[name] for name in given[kind]} == given[kind]
    messages, records = readings(store)
    for verb, read in messages.items():
        assert fields_of(read) == rows["message"], verb
    for verb, read in records.items():
        assert fields_of(read) == as_it_is_read(rows["session"]), verb


def test_an_import_is_given_every_column(columns):
    for kind, table in (("session", "sessions"), ("message", "messages")):
        assert IMPORTED[kind].keys() == columns(table).keys(), f"give each column of {table} a value of its own here"


@pytest.mark.parametrize("way", [append, import_], ids=lambda way: way.__name__)
def test_every_column_is_exported_and_comes_back(store, other, stored, columns, way):  # noqa: F811
    write(store, way)
    rows = {"session": stored("sessions"), "message": stored("messages")}
    lines = [json.loads(line) for line in exported(store).splitlines()]
    for line, (kind, row) in zip(lines, rows.items(), strict=True):
        assert line[kind].keys() == row.keys()
        assert {name: told(value) for name, value in line[kind].items()} == row
    assert other.import_([exported(store)]).messages == 1
    with psycopg.connect(pool_of(other).conninfo, row_factory=dict_row) as connection:
        for table, row in (("sessions", rows["session"]), ("messages", rows["message"])):
            names = sql.SQL(", ").join(map(sql.Identifier, row))
            query = sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(table))
            assert connection.execute(query).fetchall() == [row]


def told(value):
    """Return a value of a file as the table has it."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value


def test_every_table_is_exported_or_says_why_not(connection):
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
    assert {table for (table,) in tables} - NOT_EXPORTED.keys() == {"sessions", "messages"}
