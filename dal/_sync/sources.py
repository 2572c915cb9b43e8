# Generated from dal/_async/sources.py by .ci/async_to_sync.py: change that file, and run it.
"""Where connections come from: one of the caller's, a pool of the caller's, or a pool of our own."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, ClassVar
from weakref import WeakSet

import psycopg
from psycopg import Connection
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from dal._sync.checking import check
from dal._sync.connection import DeadlineConnection, LentTimeLimits, until
from dal._sync.per_scope import PerScope
from dal._sync.pool_queue import leave_queue
from dal._sync.queries import Spare, queries
from dal._sync.scopes import EndingPool, Home
from dal.errors import DalError, SchemaMismatch, StatementFailed, translate
from dal.processes import OfOneProcess
from dal.retries import Failure, classify
from dal.schema.check import SchemaCheck

_INTERRUPTED = 0.1
"""Seconds that an interrupted caller waits for the workers of a pool to end."""


class Single:
    """One connection of the caller's, in whatever transaction it is."""

    ended: str | None = None
    """Why nothing is to be sent any more."""

    def __init__(self, connection: Connection[Any], timeout: float | None = None) -> None:
        self._connection = connection
        self._timeout = timeout
        self._home = Home()
        self.spare = Spare()
        self._busy_with: str | None = None

    @property
    def pools(self) -> list[ConnectionPool[Any]]:
        """Return its pools: there is none."""
        return []

    @property
    def has_own_transaction(self) -> bool:
        """Whether each statement is a transaction of its own: on a connection in autocommit, outside a block."""
        is_idle = self._connection.info.transaction_status == TransactionStatus.IDLE
        return self._connection.autocommit and is_idle

    def take(self, deadline: float | None) -> Connection[Any]:
        """Give the connection, unless a transaction that nothing else may join is open on it."""
        self._home.check()
        if self._busy_with is not None:
            raise StatementFailed(
                f"this store's only connection is busy with {self._busy_with}, and free again when that has ended; "
                "a store with a pool does both at once"
            )
        if self._timeout is not None:
            LentTimeLimits(self._connection, self._timeout)
        return self._connection

    def occupy(self, what: str) -> None:
        """Keep the connection for a transaction that nothing else may join; refused within the caller's own."""
        idle = self._connection.info.transaction_status == TransactionStatus.IDLE
        if not idle or self._connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise StatementFailed(
                f"{what} needs a transaction of its own, and this connection is in another or in a pipeline; "
                "use the store itself, on a pool or on a connection that is idle"
            )
        self._busy_with = what

    def release(self) -> None:
        """Let others use it again."""
        self._busy_with = None

    def give_back(self, connection: Connection[Any], *, commit: bool) -> None:
        """Leave it as it is: its transaction is the caller's."""
        until(connection, None)
        if self._timeout is not None:
            LentTimeLimits.end(connection)

    def may_keep(self, connection: Connection[Any]) -> bool:
        """Whether it may be kept for the next statement: it is the caller's."""
        return False

    def close(self) -> None:
        """Leave it open: it is the caller's."""

    def interrupted(self, error: BaseException) -> None:
        """Leave it to the caller, who may find it closed."""

    def discard(self, connection: Connection[Any]) -> None:
        """As interrupted."""

    def may_repeat(self, known: Failure) -> bool:
        """Whether a statement that failed may be sent again: not in the caller's transaction, which failed with it."""
        return known is Failure.UNDONE and self._connection.info.transaction_status == TransactionStatus.IDLE

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error, and say why it is not tried again."""
        told = translate(error, query)
        ends = self._connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}
        if classify(error) is not Failure.REFUSED and ends:
            told.args = (f"{told.args[0]}; nothing is repeated within a transaction: run it again from its beginning",)
        return told


class Pooled:
    """A pool of the caller's; an operation has a connection, and a transaction, to itself."""

    ended: str | None = None
    """Why nothing is to be sent any more."""

    has_own_transaction = True
    """Whether each statement is a transaction of its own."""

    spare = None
    """Its connections have no cursors to use again."""

    def __init__(self, pool: ConnectionPool[Any], timeout: float | None = None) -> None:
        self._given = pool
        self._timeout = timeout
        self._home = Home(pool)

    @property
    def _pool(self) -> ConnectionPool[Any]:
        """The pool; StoreClosed where it does not work."""
        self._home.check()
        return self._given

    @property
    def pools(self) -> list[ConnectionPool[Any]]:
        """Return the pool, wherever it works."""
        return [self._given]

    def take(self, deadline: float | None) -> Connection[Any]:
        """Take a connection out of the pool, which has a timeout of its own for those without a deadline."""
        left = None if deadline is None else max(0.0, deadline - monotonic())
        connection: Connection[Any] = self._pool.getconn(left)
        if self._timeout is not None:
            LentTimeLimits(connection, self._timeout)
        return connection

    def occupy(self, what: str) -> None:
        """Nothing else can use a connection that was taken out."""

    def release(self) -> None:
        """As with occupy."""

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
            LentTimeLimits.end(connection)
            self._pool.putconn(connection)

    def may_keep(self, connection: Connection[Any]) -> bool:
        """Whether it may be kept for the next statement: its transaction is over, and nobody waits for it."""
        waiting = self._pool.get_stats().get("requests_waiting")
        return connection.autocommit and not (waiting or connection.closed or self._pool.closed)

    def close(self) -> None:
        """Leave it open: it is the caller's."""

    def interrupted(self, error: BaseException) -> None:
        """Leave it to the caller: it may have lost a connection."""

    def discard(self, connection: Connection[Any]) -> None:
        """As interrupted."""

    def may_repeat(self, known: Failure) -> bool:
        """Whether a statement that failed may be sent again: unless the pool would have to be renewed for it."""
        return known is not Failure.STALE

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error."""
        return translate(error, query)


class StorePool(OfOneProcess, EndingPool):
    """A pool of our own, in one scope."""


class OwnPool(Pooled):
    """Pools of our own: each process and each event loop has one, which its first operation opens."""

    def __init__(  # noqa: PLR0913 - as SessionStore.connect
        self,
        conninfo: str,
        schema: SchemaCheck,
        *,
        min_size: int,
        max_size: int,
        timeout: float,
        prepare_threshold: int | None,
        is_direct: bool,
    ) -> None:
        # A connection string that we made from `schema` names it already.
        may_be_hidden = is_direct and "pg_temp" not in conninfo
        settings = {
            "conninfo": conninfo,
            "kwargs": {"autocommit": True, "prepare_threshold": prepare_threshold},
            "configure": partial(_check_early, schema, may_be_hidden),
            "open": False,
            "timeout": timeout,
            # Give up early and begin anew with the next request: the default goes on for five minutes at
            # growing intervals, and a server that is back would wait for the next of them.
            "reconnect_timeout": timeout,
            "min_size": min_size,
            "max_size": max_size,
        }
        self._pools = PerScope("store", partial(_make, settings), _abandon)

    @property
    def _pool(self) -> StorePool:
        return self._pools.get()

    @property
    def pools(self) -> list[ConnectionPool[Any]]:
        """Return those of all event loops of this process."""
        return [*self._pools.all()]

    def take(self, deadline: float | None) -> Connection[Any]:
        """Take a connection out of the pool, which is opened if this is the first."""
        while True:
            pool = self._pool
            try:
                if pool.closed:
                    pool.open()
                left = None if deadline is None else max(0.0, deadline - monotonic())
                connection: DeadlineConnection = pool.getconn(left)
            except PoolClosed:
                if pool is self._pool:
                    raise
            else:
                connection.pool = pool
                return connection

    def give_back(self, connection: DeadlineConnection, *, commit: bool) -> None:  # type: ignore[override] # Its own.
        """Put it back; if it broke, renew those that were made before: they are as dead, and an operation each."""
        until(connection, None)
        try:
            broke = connection.closed and not connection.is_discarded
            if broke and connection.made > connection.renewed:
                type(connection).renewed = monotonic()
                connection.pool.drain()
        finally:
            connection.pool.putconn(connection)

    def interrupted(self, error: BaseException) -> None:
        """Begin with a new pool: an interrupt between two steps of the pool's own may have cost it a connection.

        Not so where the caller waited for one. Those that others are using are closed when they are given back.
        """
        if leave_queue(error):
            return
        interrupted = self._pools.pop()
        if interrupted is not None:
            interrupted.close(timeout=_INTERRUPTED)

    def discard(self, connection: DeadlineConnection) -> None:  # type: ignore[override] # Its own.
        """End a connection whose user was interrupted, maybe between two steps of the driver's own."""
        connection.is_discarded = True
        connection.close()

    def close(self) -> None:
        """Close the pools."""
        self._pools.close()

    def may_repeat(self, known: Failure) -> bool:
        """Whether a statement that failed may be sent again: always, since there is another connection."""
        return True

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error, or why there is no connection to give."""
        why_not = self._pool.connection_class.why_not
        return translate(why_not if isinstance(error, PoolTimeout) and why_not is not None else error, query)


def _make(settings: dict[str, Any]) -> StorePool:
    class Pooled(DeadlineConnection):
        """The connections of one pool."""

        limit = settings["timeout"]
        renewed = monotonic()
        opened: ClassVar[WeakSet[DeadlineConnection]] = WeakSet()

    return StorePool(connection_class=Pooled, **settings)


def _check_early(schema: SchemaCheck, may_be_hidden: bool, connection: Connection[Any]) -> None:  # noqa: FBT001
    """Check the schema while a connection is made, so that no operation waits for it; the first tells the error."""
    with suppress(psycopg.Error, SchemaMismatch):
        if may_be_hidden:
            queries.schema.hide_temporary(connection)
        if schema.passed:
            schema.trust(connection)
        else:
            check(schema, connection)


def _abandon(pool: StorePool) -> None:
    """End the connections of a pool whose event loop runs no more, and which can wait for nothing."""
    for connection in list(pool.connection_class.opened):
        connection.pgconn.finish()
