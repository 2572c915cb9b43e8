# Generated from dal/_async/sources.py by .ci/async_to_sync.py: change that file, and run it.
"""Where connections come from: one of the caller's, a pool of the caller's, or a pool of our own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from dal._sync.queries import queries
from dal.errors import DalError, SchemaMismatch, ServerUnavailable, translate
from dal.schema import SchemaCheck


class Single:
    """One connection of the caller's, in whatever transaction it is."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def take(self) -> Connection[Any]:
        """Give the connection."""
        return self._connection

    def give_back(self, connection: Connection[Any], *, commit: bool) -> None:
        """Leave it as it is: its transaction is the caller's."""

    def close(self) -> None:
        """Leave it open: it is the caller's."""

    def in_transaction(self) -> bool:
        """Whether a statement that failed has ended a transaction of the caller's."""
        return self._connection.info.transaction_status != TransactionStatus.IDLE

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error."""
        return translate(error, query)


class Pooled:
    """A pool of the caller's; an operation has a connection, and a transaction, to itself."""

    def __init__(self, pool: ConnectionPool[Any]) -> None:
        self._pool = pool

    def take(self) -> Connection[Any]:
        """Take a connection out of the pool."""
        connection: Connection[Any] = self._pool.getconn()
        return connection

    def give_back(self, connection: Connection[Any], *, commit: bool) -> None:
        """End the connection's transaction, if it has one, and put it back."""
        try:
            if not connection.autocommit:
                if commit:
                    connection.commit()
                else:
                    with suppress(psycopg.Error):  # What led here is being told already.
                        connection.rollback()
        finally:
            self._pool.putconn(connection)

    def close(self) -> None:
        """Leave it open: it is the caller's."""

    def in_transaction(self) -> bool:
        """Whether a statement that failed has ended a transaction of the caller's: never."""
        return False

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error."""
        return translate(error, query)


class OwnPool(Pooled):
    """A pool of our own, which the first operation opens."""

    def __init__(  # noqa: PLR0913 - as SessionStore.connect
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

        def check_early(connection: Connection[Any]) -> None:
            # While a new connection is made, so that no operation need wait for it. What is wrong is told
            # by the first operation, which looks again.
            if not schema.passed:
                with suppress(psycopg.Error, SchemaMismatch):
                    schema.compare(queries.schema.version(connection))

        super().__init__(
            ConnectionPool(
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

    def take(self) -> Connection[Any]:
        """Take a connection out of the pool, which is opened if this is the first."""
        if self._pool.closed:
            self._pool.open()
        return super().take()

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error, and find out why there is no connection to give."""
        told = translate(error, query)
        if isinstance(error, PoolTimeout):
            try:
                probe = Connection.connect(self._conninfo, connect_timeout=2)
            except psycopg.Error as reason:
                return translate(reason, query)
            probe.close()
        elif isinstance(told, ServerUnavailable):
            # The other idle connections are as dead as this one: drop them now, not one an operation.
            with suppress(psycopg.Error):
                self._pool.check()
        return told
