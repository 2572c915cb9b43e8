"""Where connections come from: one of the caller's, a pool of the caller's, or a pool of our own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from dal._async.queries import async_queries
from dal.errors import DalError, SchemaMismatch, ServerUnavailable, translate
from dal.schema import SchemaCheck


class AsyncSingle:
    """One connection of the caller's, in whatever transaction it is."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def take(self) -> AsyncConnection[Any]:
        """Give the connection."""
        return self._connection

    async def give_back(self, connection: AsyncConnection[Any], *, commit: bool) -> None:
        """Leave it as it is: its transaction is the caller's."""

    async def close(self) -> None:
        """Leave it open: it is the caller's."""

    def in_transaction(self) -> bool:
        """Whether a statement that failed has ended a transaction of the caller's."""
        return self._connection.info.transaction_status != TransactionStatus.IDLE

    async def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error."""
        return translate(error, query)


class AsyncPooled:
    """A pool of the caller's; an operation has a connection, and a transaction, to itself."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._pool = pool

    async def take(self) -> AsyncConnection[Any]:
        """Take a connection out of the pool."""
        connection: AsyncConnection[Any] = await self._pool.getconn()
        return connection

    async def give_back(self, connection: AsyncConnection[Any], *, commit: bool) -> None:
        """End the connection's transaction, if it has one, and put it back."""
        try:
            if not connection.autocommit:
                if commit:
                    await connection.commit()
                else:
                    with suppress(psycopg.Error):  # What led here is being told already.
                        await connection.rollback()
        finally:
            await self._pool.putconn(connection)

    async def close(self) -> None:
        """Leave it open: it is the caller's."""

    def in_transaction(self) -> bool:
        """Whether a statement that failed has ended a transaction of the caller's: never."""
        return False

    async def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error."""
        return translate(error, query)


class AsyncOwnPool(AsyncPooled):
    """A pool of our own, which the first operation opens."""

    def __init__(  # noqa: PLR0913 - as AsyncSessionStore.connect
        self,
        conninfo: str,
        schema: SchemaCheck,
        *,
        min_size: int,
        max_size: int,
        timeout: float,
        prepare_threshold: int | None,
    ) -> None:
        self._conninfo = conninfo

        async def check_early(connection: AsyncConnection[Any]) -> None:
            # While a new connection is made, so that no operation need wait for it. What is wrong is told
            # by the first operation, which looks again.
            if not schema.passed:
                with suppress(psycopg.Error, SchemaMismatch):
                    schema.compare(await async_queries.schema.version(connection))

        super().__init__(
            AsyncConnectionPool(
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
        )

    async def take(self) -> AsyncConnection[Any]:
        """Take a connection out of the pool, which is opened if this is the first."""
        if self._pool.closed:
            await self._pool.open()
        return await super().take()

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()

    async def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error, and find out why there is no connection to give."""
        told = translate(error, query)
        if isinstance(error, PoolTimeout):
            try:
                probe = await AsyncConnection.connect(self._conninfo, connect_timeout=2)
            except psycopg.Error as reason:
                return translate(reason, query)
            await probe.close()
        elif isinstance(told, ServerUnavailable):
            # The other idle connections are as dead as this one: drop them now, not one an operation.
            with suppress(psycopg.Error):
                await self._pool.check()
        return told
