"""Running the query files: the one way by which this library's statements are sent."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from time import monotonic
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from dal._async.checking import check
from dal._async.connection import until
from dal._async.queries import AsyncQuery, async_queries
from dal._async.settings import settings_kept
from dal._async.sources import AsyncPooled, AsyncSingle
from dal._async.sticky import AsyncSticky
from dal.errors import DalError, ServerUnavailable, StoreClosed, TooLate
from dal.interrupts import interrupts
from dal.observe import Observer, server_of, tried_again
from dal.processes import not_in_child, process
from dal.redact import redact
from dal.retries import RETRIES, Attempts, Failure, classify
from dal.schema.check import SchemaCheck, require_server


class AsyncRunner:
    """Runs query files on a source's connections, again where that is safe and helps (see dal.retries)."""

    def __init__(
        self,
        source: AsyncSingle | AsyncPooled,
        schema: SchemaCheck,
        *,
        retries: int = RETRIES,
        timeout: float | None = None,
        watch: Observer | None = None,
    ) -> None:
        self._source = source
        self._retries = retries
        self._timeout = timeout
        self.watch = watch or Observer(None)
        self.schema = schema

    async def close(self) -> None:
        """Refuse everything from here on, and close what is our own."""
        self.end("this store was closed; make a new one")
        await self._source.close()

    def end(self, why: str) -> None:
        """Refuse everything from here on."""
        self._source.ended = why

    def on(self, connection: AsyncConnection[Any]) -> AsyncRunner:
        """Give a runner on a connection of the caller's."""
        return AsyncRunner(
            AsyncSingle(connection), self.schema, retries=self._retries, timeout=self._timeout, watch=self.watch
        )

    @property
    def is_pooled(self) -> bool:
        """Whether each operation has a connection, and a transaction, to itself."""
        return isinstance(self._source, AsyncPooled)

    @property
    def has_own_transaction(self) -> bool:
        """Whether each statement is a transaction of its own, or at least not the caller's."""
        return self._source.has_own_transaction

    def deadline(self) -> float | None:
        """When a call that begins now must have ended."""
        return None if self._timeout is None else monotonic() + self._timeout

    @property
    def pools(self) -> list[AsyncConnectionPool[Any]]:
        """Return the pools of this process that the connections come from."""
        return self._source.pools

    def attempts(
        self, deadline: float | None = None, *, unknown: bool = False, source: AsyncSticky | None = None
    ) -> Attempts:
        """Give a call its attempts, until the store's deadline or this one; it may have been committed by others."""
        return Attempts(self._retries, self._timeout, deadline, unknown=unknown, source=source)

    def keep(self, has_more: Callable[[], bool]) -> AsyncSticky:
        """Give a source of this one's connections, which keeps them while there is more to send."""
        return AsyncSticky(self._source, has_more)

    async def run(self, query: AsyncQuery, attempts: Attempts | None = None, /, **parameters: Any) -> Any:
        """Run a query file, and tell who watches."""
        attempts = attempts or self.attempts()
        if not self.watch:
            return await self._run(query, parameters, attempts)
        try:
            rows = await self._run(query, parameters, attempts)
        except BaseException as error:
            self.watch.ended(query.name, parameters, attempts, None, error)
            raise
        count = len(rows) if query.many else int(rows is not None)
        self.watch.ended(query.name, parameters, attempts, count, None)
        return rows

    async def check(self) -> None:
        """Check the tables, although that was done before."""
        await self.run(async_queries.schema.check)

    @asynccontextmanager
    async def watched(self, what: str, name: str, connection: AsyncConnection[Any]) -> AsyncIterator[None]:
        """Tell who watches of a block that runs statements of no query file, and commits."""
        attempts = self.attempts()
        attempts.server = server_of(connection)
        try:
            try:
                yield
            except psycopg.Error as error:
                raise await self.explain(error, what, sent=True) from error
        except BaseException as error:
            self.watch.ended(name, {}, attempts, None, error)
            raise
        self.watch.ended(name, {}, attempts, 1, None)

    async def _run(self, query: AsyncQuery, parameters: dict[str, Any], attempts: Attempts) -> Any:
        while True:
            attempts.sent = False
            try:
                return await self._attempt(query, parameters, attempts)
            except psycopg.Error as error:
                pause = await self._after(error, query.name, attempts, sent=attempts.sent, repeatable=query.repeatable)
            except BaseException as error:
                if interrupts(error) and not attempts.is_back:
                    await self._source.interrupted(error)
                raise
            await sleep(pause)

    async def _attempt(self, query: AsyncQuery, parameters: dict[str, Any], attempts: Attempts) -> Any:
        # As `connection` does, without its generator: bench/test_overhead.py shows what that would add.
        attempts.is_back = False
        connection = await self._take(attempts)
        if self.watch:
            attempts.server = server_of(connection)
        succeeded = False
        until(connection, attempts.deadline)
        try:
            if query is async_queries.schema.check:
                require_server(connection)
            elif self.schema.is_due(connection):
                await check(self.schema, connection)
            attempts.sent = True
            rows = await query.send(connection, parameters, self._source.spare)
            if query is async_queries.schema.check:
                self.schema.compare(rows, connection)
            succeeded = True
        except BaseException as error:
            if interrupts(error):
                await self._source.discard(connection)
            raise
        finally:
            await (attempts.source or self._source).give_back(connection, commit=succeeded)
            attempts.is_back = True
        return rows

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Give a connection; a pool's has a transaction of its own, which ends with the block."""
        attempts = Attempts(0, self._timeout)
        try:
            connection = await self._take(attempts)
            succeeded, begun_in = False, process()
            with not_in_child(connection):
                try:
                    yield connection
                    succeeded = True
                except BaseException as error:
                    if interrupts(error):
                        await self._source.discard(connection)
                    raise
                finally:
                    if process() == begun_in:
                        await self._source.give_back(connection, commit=succeeded)
                    attempts.is_back = True
        except BaseException as error:
            if interrupts(error) and not attempts.is_back:
                await self._source.interrupted(error)
            raise

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection for a caller's own SQL, whose errors pass as they are, and have its settings restored."""
        lent = False
        try:
            async with self.connection() as connection, self._settings_kept(connection):
                lent = True
                yield connection
        except psycopg.Error as error:
            if lent and not isinstance(error, TooLate):
                raise
            raise await self.explain(error, "connection", sent=lent) from error

    def _settings_kept(self, connection: AsyncConnection[Any]) -> AbstractAsyncContextManager[None]:
        return settings_kept(connection) if self.is_pooled else nullcontext()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Give a connection in a transaction that ends with the block, where need be by another attempt to begin it."""
        attempts = Attempts(self._retries, self._timeout)
        while True:
            begun = False
            try:
                async with self.connection() as connection, connection.transaction():
                    begun = True
                    yield connection
            except psycopg.Error as error:
                if begun:
                    raise
                pause = await self._after(error, "transaction", attempts, sent=False)
            else:
                return
            await sleep(pause)

    @asynccontextmanager
    async def alone(
        self, what: str, isolation: IsolationLevel, *, read_only: bool = False
    ) -> AsyncIterator[tuple[AsyncConnection[Any], AsyncRunner]]:
        """Give a connection in a transaction of this kind, which nothing else joins, and a runner on it.

        Each statement has the store's `timeout` to itself, and the transaction as long as its user takes.
        """
        attempts = Attempts(self._retries, self._timeout)
        while True:
            begun = False
            try:
                async with self.connection() as connection, self._only(connection, what, isolation, read_only):
                    if self.schema.is_due(connection):
                        await check(self.schema, connection)
                    begun = True
                    yield connection, self.on(connection)
            except psycopg.Error as error:
                if begun:  # What it had to commit, it has.
                    raise await self.explain(error, what, sent=False) from error
                pause = await self._after(error, what, attempts, sent=False)
            else:
                return
            await sleep(pause)

    @asynccontextmanager
    async def _only(
        self,
        connection: AsyncConnection[Any],
        what: str,
        isolation: IsolationLevel,
        read_only: bool,  # noqa: FBT001 - one caller
    ) -> AsyncIterator[None]:
        """Open a transaction of this kind, and leave the connection's settings as they were."""
        self._source.occupy(what)
        before = connection.isolation_level, connection.read_only
        try:
            await connection.set_isolation_level(isolation)
            await connection.set_read_only(read_only)
            async with connection.transaction():
                yield
        finally:
            self._source.release()
            if connection.info.transaction_status == TransactionStatus.IDLE:
                await connection.set_isolation_level(before[0])
                await connection.set_read_only(before[1])
            else:  # An interrupt has left a statement running.
                await connection.close()

    async def explain(self, error: psycopg.Error, query: str, *, sent: bool, unknown: bool = False) -> DalError:
        """Translate a driver's error, with what the source knows; `unknown` is an earlier attempt's outcome.

        The driver's error, which becomes the cause, loses what may quote stored content.
        """
        told = await self._source.explain(error, query)
        may_be_done = sent and classify(error) is Failure.UNKNOWN
        redact(error)
        if unknown and not isinstance(told, ServerUnavailable):
            said = f"the connection was lost, and then {told.args[0]}"
            told = ServerUnavailable(said, query=query, sqlstate=told.sqlstate)
        if isinstance(told, ServerUnavailable):
            told.outcome_unknown = unknown or may_be_done
        return told

    async def _after(
        self, error: psycopg.Error, query: str, attempts: Attempts, *, sent: bool, repeatable: bool = True
    ) -> float:
        """How many seconds to wait before the next attempt; if there is to be none, raise what the user is told."""
        known = classify(error)
        told = await self.explain(error, query, sent=sent, unknown=attempts.unknown)
        attempts.unknown = attempts.unknown or (sent and known is Failure.UNKNOWN)
        safe = repeatable or not sent or known is not Failure.UNKNOWN
        if safe and known is not Failure.REFUSED and self._source.may_repeat(known):
            pause = attempts.pause()
            if pause is not None:
                tried_again(query, error, pause)
                return pause
        raise told from error

    async def _take(self, attempts: Attempts) -> AsyncConnection[Any]:
        if self._source.ended is not None:
            raise StoreClosed(self._source.ended)
        asked = monotonic()
        connection = await (attempts.source or self._source).take(attempts.deadline)
        attempts.waited += monotonic() - asked
        return connection
