"""Imports: store the sessions and messages of an export, or of any file in its format."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, IsolationLevel
from psycopg.rows import tuple_row

from dal._async.connection import set_deadline
from dal._async.runner import AsyncRunner
from dal.driver_errors import is_sent_twice, redact
from dal.errors import DalError, InvalidInput, ServerUnavailable, StatementFailed
from dal.histories._async.chunks import chunks
from dal.histories.batch import MOST_AHEAD, SQL, Batch, Tally
from dal.histories.lines import Line, Lines
from dal.observe import server_of
from dal.records import Imported
from dal.validate import Sanitize

_SECONDS_A_MESSAGE = 0.001
"""Seconds to add to the store's timeout for each message, since one statement stores a whole batch."""

_AT_ONCE = 2**16
"""Characters to send at once."""


async def import_lines(runner: AsyncRunner, lines: Any, *, owner: str | None, sanitize: Sanitize) -> Imported:
    """Store the lines, in transactions of whole sessions."""
    tally, batch = Tally(), Batch(owner)
    async with aclosing(_each(lines, Lines(owner, sanitize))) as each:
        await _read(each, batch, 1)
        if not batch.last:
            return tally.total()
        try:
            async with runner.exclusive_transaction("import", IsolationLevel.READ_COMMITTED) as (connection, _):
                following: Batch | None = batch
                while following is not None:
                    batch = following
                    await _send(connection, batch, each)
                    async with _observed(runner, connection):
                        outcome, wrong = await _store(runner, connection, batch, each)
                    tally.add(outcome, batch)
                    if wrong is not None:
                        raise wrong
                    following = batch.following
        except (ServerUnavailable, StatementFailed) as error:
            error.args = (tally.explain(error.args[0]),)
            raise
        analyzed = not tally.is_much or await _analyze(runner)
    return tally.total(analyzed=analyzed)


@asynccontextmanager
async def _observed(runner: AsyncRunner, connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Report the transaction of a batch to the hook. It has statements of its own instead of query files."""
    attempts = runner.attempts()
    attempts.server = server_of(connection)
    ended = partial(runner.observer.ended, "histories.store", {}, attempts)
    try:
        try:
            yield
        except psycopg.Error as error:
            raise await runner.explain(error, "import", sent=True) from error
    except BaseException as error:
        ended(None, error)
        raise
    ended(1, None)


async def _send(connection: AsyncConnection[Any], batch: Batch, each: AsyncGenerator[Line]) -> None:
    """Copy the lines of a batch into temporary tables while they are read."""
    cursor = AsyncRawCursor(connection, row_factory=tuple_row)
    await cursor.execute(SQL["staging"], prepare=False)
    async with cursor.copy(SQL["copy_messages"]) as copy:
        while batch.waiting or not batch.is_whole:
            for row in batch.take_unsent():
                await copy.write_row(row)
            await _read(each, batch, _AT_ONCE)
    async with cursor.copy(SQL["copy_sessions"]) as copy:
        for row in batch.rows():
            await copy.write_row(row)


async def _store(
    runner: AsyncRunner, connection: AsyncConnection[Any], batch: Batch, each: AsyncGenerator[Line]
) -> tuple[Any, Exception | None]:
    """Store a copied batch and commit; meanwhile, read lines of the next batch. Return the outcome of the batch.

    All statements are sent before a line is read, so the commit does not wait for slow lines. An error in the lines is
    returned, not raised, since an error of this batch takes precedence.
    """
    wrong: Exception | None = None
    storing = AsyncRawCursor(connection, row_factory=tuple_row)
    form = "_distributed" if runner.schema.distributed else ""
    try:
        async with connection.pipeline():
            await AsyncRawCursor(connection).execute(SQL[f"take{form}"], prepare=False)
            await storing.execute(SQL[f"store{form}"], prepare=False)
            await AsyncRawCursor(connection).execute(SQL["commit"], prepare=False)
            if batch.following is not None:
                try:
                    await _read(each, batch.following, MOST_AHEAD)
                except Exception as error:  # noqa: BLE001 - it is raised by the caller
                    wrong = error
            deadline = runner.deadline()
            set_deadline(connection, None if deadline is None else deadline + batch.messages * _SECONDS_A_MESSAGE)
        return await storing.fetchone(), wrong
    except psycopg.errors.UniqueViolation as error:
        if not is_sent_twice(error):
            raise
        reason = f"a session has a message_id twice: {error.diag.message_detail}"
        redact(error)
        raise InvalidInput(batch.place, reason) from error
    finally:
        set_deadline(connection, None)


async def _analyze(runner: AsyncRunner) -> bool:
    """Update the planner's statistics; return False if the role may not, or if it takes too long."""
    warnings: list[Any] = []
    try:
        async with runner.connection() as connection, connection.transaction():
            connection.add_notice_handler(warnings.append)
            set_deadline(connection, runner.deadline())
            try:
                await connection.execute(SQL["analyze"], prepare=False)
            finally:
                set_deadline(connection, None)
                connection.remove_notice_handler(warnings.append)
    except (psycopg.Error, DalError):  # The import itself is committed.
        return False
    return not warnings


async def _read(each: AsyncGenerator[Line], batch: Batch, most: int) -> None:
    """Read lines into a batch until it is whole or has `most` characters to send."""
    while not batch.is_whole and batch.waiting < most:
        batch.add(await anext(each, None))


async def _each(lines: Any, checked: Lines) -> AsyncGenerator[Line]:
    async with aclosing(chunks(lines)) as each:
        async for chunk in each:
            for line in checked.feed(chunk):
                yield line
    for line in checked.end():
        yield line
