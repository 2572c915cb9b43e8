"""Every column is written and read by each method, exported and imported."""

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
    "listed_at": "the position in lists, derived from updated_at",
}
"""Columns that no method writes or returns, and why; an import computes them."""

NOT_EXPORTED = {
    "dal_schema": "it describes the tables, not their contents",
    "removed_messages": "removed messages are not a part of the session any more",
    "changes": "changes are recorded only for an hour, so that a retry is not applied twice",
}
"""Tables that are not exported, and why."""

SESSION = {"source": "telegram", "user_id": "u1", "parent_id": "p", "metadata": {"title": "x"}}
"""The arguments of a session."""

MESSAGE = {"role": "tool", "content": "hello", "agent_id": "a1", "metadata": {"n": 1}, "message_id": "m1"}
"""The arguments of a message."""

BEGAN = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
IMPORTED = {
    "session": {
        "session_id": "s", **SESSION, "status": "trashed", "next_sequence": 9, "message_count": 1, "agent_ids": ["a1"],
        "created_at": BEGAN, "updated_at": BEGAN + timedelta(days=2), "archived_at": BEGAN + timedelta(days=3),
        "revision": 4, "fork_point": 8, "trashed_from": "archived",
    },
    "message": {"session_id": "s", **MESSAGE, "sequence": 7, "created_at": BEGAN + timedelta(days=1)},
}  # fmt: skip
"""The lines of an import; all values differ."""


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
    """Read the row of the session "s" or its message; assert that no column is null or has its default."""

    def read(table, writer):
        names = sql.SQL(", ").join(map(sql.Identifier, columns(table)))
        (row,) = connection.cursor(row_factory=dict_row).execute(
            sql.SQL("SELECT {} FROM {} WHERE session_id = 's'").format(names, sql.Identifier(table))
        ).fetchall()  # fmt: skip
        for name, default in columns(table).items():
            if name == "fork_point" and writer not in {fork, import_}:
                continue
            assert row[name] is not None, f"{table}.{name} has no value in this test: add one"
            default_value = connection.execute(f"SELECT {default or 'NULL'}").fetchone()[0]
            assert row[name] != default_value, f"{table}.{name} has its default in this test: use another value"
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


def fork(store):
    store.session("p", **SESSION | {"parent_id": None}).append(**MESSAGE)
    store.session("p").fork(1, session_id="s", metadata=SESSION["metadata"])


def import_(store):
    store.import_(json.dumps({kind: fields}, default=str) for kind, fields in IMPORTED.items())


WRITERS = (append, append_all, append_all_of_many, through_a_writer, in_a_transaction, fork)


def write(store, writer):
    """Write a session, archive it and put it in the trash, so that every column has a value."""
    writer(store)
    if writer is not import_:
        store.session("s").archive()
        store.session("s").agent_ids()
        store.session("s").trash()


def fields_of(record):
    return {name: getattr(record, name) for name in record.__slots__}


def readings(store):
    """Read the session and its message by every method."""
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
    listings = (
        {}, {"user_id": "u1"}, {"source": "telegram"}, {"user_id": "u1", "source": "telegram"}, {"parent_id": "p"},
    )  # fmt: skip
    records = {f"sessions {listing}": store.sessions(**listing, status="trashed").sessions[0] for listing in listings}
    return messages, records | {"record": session.record(), "open": opened.record}


def as_record(row):
    """Return a row with tuples instead of lists, as in a record."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


@pytest.mark.parametrize("writer", [*WRITERS, import_], ids=lambda writer: writer.__name__)
def test_every_column_is_written_and_read(store, stored, writer):
    write(store, writer)
    rows = {"session": stored("sessions", writer), "message": stored("messages", writer)}
    expected = IMPORTED if writer is import_ else {"session": SESSION, "message": MESSAGE}
    for kind, row in rows.items():
        assert {name: row[name] for name in expected[kind]} == expected[kind]
    messages, records = readings(store)
    for method, read in messages.items():
        assert fields_of(read) == rows["message"], method
    for method, read in records.items():
        assert fields_of(read) | {"trashed_from": "archived"} == as_record(rows["session"]), method


def test_the_imported_lines_have_every_column(columns):
    for kind, table in (("session", "sessions"), ("message", "messages")):
        assert IMPORTED[kind].keys() == columns(table).keys(), f"add each column of {table} with its own value"


@pytest.mark.parametrize("writer", [append, import_], ids=lambda writer: writer.__name__)
def test_every_column_survives_an_export_and_an_import(store, other, stored, writer):  # noqa: F811
    write(store, writer)
    rows = {"session": stored("sessions", writer), "message": stored("messages", writer)}
    lines = [json.loads(line) for line in exported(store).splitlines()]
    for line, (kind, row) in zip(lines, rows.items(), strict=True):
        assert line[kind].keys() == row.keys()
        assert {name: parse(value) for name, value in line[kind].items()} == row
    assert other.import_([exported(store)]).messages == 1
    with psycopg.connect(pool_of(other).conninfo, row_factory=dict_row) as connection:
        for table, row in (("sessions", rows["session"]), ("messages", rows["message"])):
            names = sql.SQL(", ").join(map(sql.Identifier, row))
            query = sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(table))
            assert connection.execute(query).fetchall() == [row]


def parse(value):
    """Parse a value of an export: a time if it is one."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value


def test_every_table_is_exported_or_excluded(connection):
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
    assert {table for (table,) in tables} - NOT_EXPORTED.keys() == {"sessions", "messages"}
