"""Sending many operations in one go: none waits for the reply to the one before it."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg_pool import PoolTimeout

from dal._async.checking import check
from dal._async.connection import until
from dal._async.queries import AsyncQuery
from dal._async.runner import AsyncRunner
from dal.errors import StoreClosed
from dal.retries import Attempts

MOST = 256
"""Operations that go together: more would take longer, and not be faster."""


class AsyncOperation:
    """A query file that somebody waits for, and what became of it."""

    __slots__ = ("attempts", "error", "is_alone", "parameters", "query", "rows")

    def __init__(self, query: AsyncQuery, parameters: dict[str, Any], attempts: Attempts) -> None:
        self.query = query
        self.parameters = parameters
        self.attempts = attempts
        self.rows: Any = None
        self.error: Exception | None = None
        self.is_alone = False
        """Whether it is to be sent once more, alone: something went wrong, with it or beside it."""


class AsyncPipelining(AsyncRunner):
    """What the pipelines of both sides have in common: sending what has gathered.

    Each operation is in a transaction of its own. If one of them fails, all of them are sent again alone, so that
    each tells its own error; that is safe because only what is `Repeat: safe` goes together.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_closed = False
        self._running: set[Attempts] = set()

    async def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was."""
        self._is_closed = True
        while self._running:  # noqa: ASYNC110 - what ends last is known in hindsight alone
            await sleep(0.001)

    async def _run(self, query: AsyncQuery, parameters: dict[str, Any], attempts: Attempts) -> Any:
        if self._is_closed:
            raise StoreClosed("this pipeline was closed; make a new one")
        self._running.add(attempts)
        try:
            return await super()._run(query, parameters, attempts)
        finally:
            self._running.discard(attempts)

    async def send(self, operations: Sequence[AsyncOperation]) -> None:
        """Send operations on one connection, and put down what became of each."""
        deadlines = (one.attempts.deadline for one in operations)
        deadline = min((one for one in deadlines if one is not None), default=None)
        try:
            async with self.connection(deadline) as connection:
                until(connection, deadline)
                try:
                    if self.schema.is_due(connection):
                        await check(self.schema, connection)
                    await self._exchange(connection, operations)
                finally:
                    until(connection, None)
        except PoolTimeout as error:
            for operation in operations:
                if operation.attempts.deadline == deadline:
                    operation.error = error
                else:
                    operation.is_alone = True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those who wait
            for operation in operations:
                operation.error = error

    async def _exchange(self, connection: AsyncConnection[Any], operations: Sequence[AsyncOperation]) -> None:
        if not connection.autocommit:  # They would all be one transaction.
            for operation in operations:
                operation.is_alone = True
            return
        cursors: list[AsyncRawCursor[Any]] = []
        failed = False
        try:
            async with connection.pipeline() as pipeline:
                for operation in operations:
                    if cursors:
                        # Ends the transaction of the one before. The driver's own sync() would wait for its reply.
                        pipeline._enqueue_sync()  # noqa: SLF001
                    operation.attempts.connection, operation.attempts.sent = connection, True
                    cursor = operation.query.cursor(connection)
                    cursors.append(cursor)
                    try:
                        await cursor.execute(operation.query.sql, operation.query.bind(operation.parameters))
                    except psycopg.Error:  # Of this one, or of one before it.
                        failed = True
        except psycopg.Error:
            failed = True
            if connection.closed:
                raise
        for operation, cursor in zip(operations, cursors, strict=True):
            if failed:
                operation.is_alone = True
                operation.attempts.unknown = operation.attempts.unknown or cursor.pgresult is not None
            else:
                operation.rows = operation.query.rows(await cursor.fetchall())
