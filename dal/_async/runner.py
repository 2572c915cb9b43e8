"""Running the query files: on which connection, what is checked before, and what is told when it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from dal._async.queries import AsyncQuery, async_queries
from dal.errors import DalError, SchemaMismatch, ServerUnavailable, StoreClosed, translate
from dal.schema import SchemaCheck


class AsyncRunner:
    """The one way by which this library's statements are sent: a pool, or one connection."""

    def __init__(self, source: AsyncConnectionPool[Any] | AsyncConnection[Any], schema: SchemaCheck) -> None:
        self._pool = source if isinstance(source, AsyncConnectionPool) else None
        self._single = source if isinstance(source, AsyncConnection) else None
        self._own_conninfo: str | None = None
        self._ended: str | None = None
        self.schema = schema

    @classmethod
    def connect(
        cls, conninfo: str, *, prepare_threshold: int | None, timeout: float, min_size: int, max_size: int
    ) -> Self:
        """Make a runner with a pool of its own, which its first statement opens."""
        schema = SchemaCheck()

        async def check_early(connection: AsyncConnection[Any]) -> None:
            # While a new connection is made, so that no operation need wait for it. What is wrong is told
            # by the first operation, which looks again.
            if not schema.passed:
                with suppress(psycopg.Error, SchemaMismatch):
                    schema.compare(await async_queries.schema.version(connection))

        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            conninfo,
            kwargs={"autocommit": True, "prepare_threshold": prepare_threshold},
            configure=check_early,
            open=False,
            timeout=timeout,
            # Give up early and begin anew with the next request: the default goes on for five minutes at
            # growing intervals, and a server that is back would wait for the next of them.
            reconnect_timeout=timeout,
            min_size=min_size,
            max_size=max_size,
        )
        runner = cls(pool, schema)
        runner._own_conninfo = conninfo
        return runner

    async def close(self) -> None:
        """Refuse everything from here on, and close the pool if it is our own."""
        self.end("this store was closed; make a new one")
        if self._own_conninfo is not None and self._pool is not None:
            await self._pool.close()

    def end(self, why: str) -> None:
        """Refuse everything from here on."""
        self._ended = why

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Give a connection: one of the pool, in a transaction that ends with the block, or the single one."""
        if self._ended is not None:
            raise StoreClosed(self._ended)
        if self._pool is None:
            assert self._single is not None  # noqa: S101 - one of the two is there
            yield self._single
            return
        if self._own_conninfo is not None and self._pool.closed:
            await self._pool.open()
        async with self._pool.connection() as connection:
            yield connection

    async def run(self, query: AsyncQuery, **parameters: Any) -> Any:
        """Run a query file, as often as it is safe and may help."""
        repeated = False
        while True:
            try:
                async with self.connection() as connection:
                    if not self.schema.passed:
                        self.schema.compare(await async_queries.schema.version(connection))
                    return await query(connection, **parameters)
            except psycopg.errors.UniqueViolation as error:
                # Someone else was storing the same message at this moment, and has committed: asked again,
                # the statement finds it. A transaction of the caller's has failed, and is the caller's.
                if repeated or self._in_transaction():
                    raise translate(error, query.name) from error
                repeated = True
            except psycopg.Error as error:
                raise await self.explain(error, query.name) from error

    async def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error, and find out why a pool of our own has no connection to give."""
        told = translate(error, query)
        if self._own_conninfo is None or self._pool is None:
            return told
        if isinstance(error, PoolTimeout):
            try:
                probe = await AsyncConnection.connect(self._own_conninfo, connect_timeout=2)
            except psycopg.Error as reason:
                return translate(reason, query)
            await probe.close()
        elif isinstance(told, ServerUnavailable):
            # The other idle connections are as dead as this one: drop them now, not one an operation.
            with suppress(psycopg.Error):
                await self._pool.check()
        return told

    def _in_transaction(self) -> bool:
        return self._single is not None and self._single.info.transaction_status != TransactionStatus.IDLE
