"""Importing: lines that were exported, or written by others, into sessions and their messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, IsolationLevel
from psycopg.rows import tuple_row

from dal._async.connection import until
from dal._async.pieces import pieces
from dal._async.runner import AsyncRunner
from dal.errors import InvalidInput, ServerUnavailable, StatementFailed
from dal.histories.batch import COPY_MESSAGES, COPY_SESSIONS, STAGING, STORE, TAKE, Batch, Tally
from dal.histories.lines import Line, Lines
from dal.records import Imported
from dal.validate import Sanitize

_SECONDS_A_MESSAGE = 0.001
"""What storing a message may take beside the store's timeout: a session is stored whole, however long it is."""


async def import_lines(runner: AsyncRunner, lines: Any, *, owner: str | None, sanitize: Sanitize) -> Imported:
    """Store what the lines have, in transactions of whole sessions."""
    tally = Tally()
    async with aclosing(_each(lines, Lines(owner, sanitize))) as each:
        line = await anext(each, None)
        while line is not None:
            batch = Batch(owner)
            try:
                async with runner.alone("import", IsolationLevel.READ_COMMITTED) as (connection, _):
                    cursor = AsyncRawCursor(connection, row_factory=tuple_row)
                    await cursor.execute(STAGING, prepare=False)
                    async with cursor.copy(COPY_MESSAGES) as copy:
                        while line is not None and batch.takes(line):
                            row = batch.add(line)
                            if row is not None:
                                await copy.write_row(row)
                            line = await anext(each, None)
                    async with runner.watched("histories.store", connection) as attempts:
                        outcome = await _store(connection, batch, attempts.deadline)
            except (ServerUnavailable, StatementFailed) as error:
                error.args = (tally.told(error.args[0]),)
                raise
            tally.add(outcome, batch)
    return tally.total()


async def _store(connection: AsyncConnection[Any], batch: Batch, deadline: float | None) -> Any:
    """Store a batch whose messages were sent."""
    cursor = AsyncRawCursor(connection, row_factory=tuple_row)
    async with cursor.copy(COPY_SESSIONS) as copy:
        for row in batch.rows():
            await copy.write_row(row)
    until(connection, None if deadline is None else deadline + batch.messages * _SECONDS_A_MESSAGE)
    try:
        await cursor.execute(TAKE, prepare=False)
        await cursor.execute(STORE, prepare=False)
        return await cursor.fetchone()
    except psycopg.errors.UniqueViolation as error:
        told = f"a session has a number or a message_id twice: {error.diag.message_detail}"
        raise InvalidInput(batch.place, told) from error
    finally:
        until(connection, None)


async def _each(lines: Any, checked: Lines) -> AsyncGenerator[Line]:
    async with aclosing(pieces(lines)) as each:
        async for piece in each:
            for line in checked.feed(piece):
                yield line
    for line in checked.end():
        yield line
