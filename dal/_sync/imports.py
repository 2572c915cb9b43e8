# Generated from dal/_async/imports.py by .ci/async_to_sync.py: change that file, and run it.
"""Importing: lines that were exported, or written by others, into sessions and their messages."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

import psycopg
from psycopg import Connection, IsolationLevel, RawCursor
from psycopg.rows import tuple_row

from dal._sync.connection import until
from dal._sync.pieces import pieces
from dal._sync.runner import Runner
from dal.errors import InvalidInput, ServerUnavailable, StatementFailed
from dal.histories.batch import COPY_MESSAGES, COPY_SESSIONS, STAGING, STORE, TAKE, Batch, Tally
from dal.histories.lines import Line, Lines
from dal.records import Imported
from dal.validate import Sanitize

_SECONDS_A_MESSAGE = 0.001
"""What storing a message may take beside the store's timeout: a session is stored whole, however long it is."""


def import_lines(runner: Runner, lines: Any, *, owner: str | None, sanitize: Sanitize) -> Imported:
    """Store what the lines have, in transactions of whole sessions."""
    tally = Tally()
    with closing(_each(lines, Lines(owner, sanitize))) as each:
        line = next(each, None)
        while line is not None:
            batch = Batch(owner)
            try:
                with runner.alone("import", IsolationLevel.READ_COMMITTED) as (connection, _):
                    cursor = RawCursor(connection, row_factory=tuple_row)
                    cursor.execute(STAGING, prepare=False)
                    with cursor.copy(COPY_MESSAGES) as copy:
                        while line is not None and batch.takes(line):
                            row = batch.add(line)
                            if row is not None:
                                copy.write_row(row)
                            line = next(each, None)
                    with runner.watched("histories.store", connection) as attempts:
                        outcome = _store(connection, batch, attempts.deadline)
            except (ServerUnavailable, StatementFailed) as error:
                error.args = (tally.told(error.args[0]),)
                raise
            tally.add(outcome, batch)
    return tally.total()


def _store(connection: Connection[Any], batch: Batch, deadline: float | None) -> Any:
    """Store a batch whose messages were sent."""
    cursor = RawCursor(connection, row_factory=tuple_row)
    with cursor.copy(COPY_SESSIONS) as copy:
        for row in batch.rows():
            copy.write_row(row)
    until(connection, None if deadline is None else deadline + batch.messages * _SECONDS_A_MESSAGE)
    try:
        cursor.execute(TAKE, prepare=False)
        cursor.execute(STORE, prepare=False)
        return cursor.fetchone()
    except psycopg.errors.UniqueViolation as error:
        told = f"a session has a number or a message_id twice: {error.diag.message_detail}"
        raise InvalidInput(batch.place, told) from error
    finally:
        until(connection, None)


def _each(lines: Any, checked: Lines) -> Generator[Line, None, None]:
    with closing(pieces(lines)) as each:
        for piece in each:
            for line in checked.feed(piece):
                yield line
    for line in checked.end():
        yield line
