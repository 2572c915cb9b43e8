# Generated from dal/_async/sources.py by .ci/async_to_sync.py: change that file, and run it.
"""The sources of connections: a connection of the caller's, a pool of the caller's, or the store's own pool."""

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
from dal._sync.connection import DeadlineConnection, LentTimeLimits, set_deadline
from dal._sync.per_scope import PerScope
from dal._sync.pool_queue import leave_queue
from dal._sync.queries import Spare, queries
from dal._sync.scopes import EndingPool, Home
from dal.errors import DalError, SchemaMismatch, StatementFailed, translate
from dal.processes import OfOneProcess
from dal.retries import Failure, classify
from dal.schema.check import SchemaCheck

_INTERRUPTED = 0.1
"""Seconds that an interrupted caller waits for the pool's workers to end."""


class Single:
    """A connection of the caller's, inside or outside a transaction."""

    ended: str | None = None
    """The reason why no more statements are sent."""

    def __init__(self, connection: Connection[Any], timeout: float | None = None) -> None:
        self._connection = connection
        self._timeout = timeout
        self._home = Home()
        self.spare = Spare()
        self._busy_with: str | None = None

    @property
    def pools(self) -> list[ConnectionPool[Any]]:
        """The pools of this source: none."""
        return []

    @property
    def has_own_transaction(self) -> bool:
        """Whether each statement is a transaction of its own: in autocommit mode, outside a block."""
        is_idle = self._connection.info.transaction_status == TransactionStatus.IDLE
        return self._connection.autocommit and is_idle

    def take(self, deadline: float | None) -> Connection[Any]:
        """Return the connection, unless a transaction that no other call may join is open on it."""
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
        """Reserve the connection for a transaction that no other call may join; refuse it within the caller's own."""
        idle = self._connection.info.transaction_status == TransactionStatus.IDLE
        if not idle or self._connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise StatementFailed(
                f"{what} needs a transaction of its own, and this connection is in another or in a pipeline; "
                "use the store itself, on a pool or on a connection that is idle"
            )
        self._busy_with = what

    def release(self) -> None:
        """End the reservation."""
        self._busy_with = None

    def give_back(self, connection: Connection[Any], *, commit: bool) -> None:
        """Leave the transaction to the caller."""
        set_deadline(connection, None)
        if self._timeout is not None:
            LentTimeLimits.end(connection)

    def is_reusable(self, connection: Connection[Any]) -> bool:
        """Return False: it is the caller's."""
        return False

    def close(self) -> None:
        """Leave it open: it is the caller's."""

    def interrupted(self, error: BaseException) -> None:
        """Leave the connection to the caller, even if it is closed now."""

    def discard(self, connection: Connection[Any]) -> None:
        """Do nothing, as `interrupted`."""

    def may_repeat(self, failure: Failure) -> bool:
        """Return whether a failed statement may be sent again: not in the caller's transaction, which failed too."""
        return failure is Failure.UNDONE and self._connection.info.transaction_status == TransactionStatus.IDLE

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate an error of the driver, and explain why it is not tried again."""
        explained = translate(error, query)
        ends = self._connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}
        if classify(error) is not Failure.REFUSED and ends:
            explained.args = (
                f"{explained.args[0]}; nothing is repeated within a transaction: run it again from its beginning",
            )
        return explained


class Pooled:
    """A pool of the caller's; each operation has its own connection and transaction."""

    ended: str | None = None
    """The reason why no more statements are sent."""

    has_own_transaction = True
    """Whether each statement is a transaction of its own."""

    spare = None
    """No cursors to use again: the connections change."""

    def __init__(self, pool: ConnectionPool[Any], timeout: float | None = None) -> None:
        self._given = pool
        self._timeout = timeout
        self._home = Home(pool)

    @property
    def _pool(self) -> ConnectionPool[Any]:
        """The pool; raise StoreClosed in another process or event loop."""
        self._home.check()
        return self._given

    @property
    def pools(self) -> list[ConnectionPool[Any]]:
        """The pool, in every process and event loop."""
        return [self._given]

    def take(self, deadline: float | None) -> Connection[Any]:
        """Take a connection out of the pool; without a deadline the pool's own timeout applies."""
        left = None if deadline is None else max(0.0, deadline - monotonic())
        connection: Connection[Any] = self._pool.getconn(left)
        if self._timeout is not None:
            LentTimeLimits(connection, self._timeout)
        return connection

    def occupy(self, what: str) -> None:
        """Do nothing: no other call uses a connection that was taken out."""

    def release(self) -> None:
        """Do nothing."""

    def give_back(self, connection: Connection[Any], *, commit: bool) -> None:
        """End the connection's transaction, if there is one, and return it to the pool."""
        try:
            if not connection.autocommit:
                if commit:
                    connection.commit()
                else:
                    with suppress(psycopg.Error):  # Another error is already on its way to the caller.
                        connection.rollback()
        finally:
            LentTimeLimits.end(connection)
            self._pool.putconn(connection)

    def is_reusable(self, connection: Connection[Any]) -> bool:
        """Return whether the next statement may use it: its transaction has ended, and no call waits for one."""
        waiting = self._pool.get_stats().get("requests_waiting")
        return connection.autocommit and not (waiting or connection.closed or self._pool.closed)

    def close(self) -> None:
        """Leave it open: it is the caller's."""

    def interrupted(self, error: BaseException) -> None:
        """Leave the pool to the caller, even if it lost a connection."""

    def discard(self, connection: Connection[Any]) -> None:
        """Do nothing, as `interrupted`."""

    def may_repeat(self, failure: Failure) -> bool:
        """Return whether a failed statement may be sent again: not if the pool would have to be renewed first."""
        return failure is not Failure.STALE

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate an error of the driver."""
        return translate(error, query)


class StorePool(OfOneProcess, EndingPool):
    """The store's own pool, in one process and event loop."""


class OwnPool(Pooled):
    """The store's own pools: one in each process and event loop, opened by the first operation there."""

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
        # A connection string made from `schema` names pg_temp already.
        may_be_hidden = is_direct and "pg_temp" not in conninfo
        settings = {
            "conninfo": conninfo,
            "kwargs": {"autocommit": True, "prepare_threshold": prepare_threshold},
            "configure": partial(_check_early, schema, may_be_hidden),
            "open": False,
            "timeout": timeout,
            # Give up early, and start again with the next request: by default the pool would try for five minutes
            # at growing intervals, and find a server that is back only at the next one.
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
        """The pools of all event loops of this process."""
        return [*self._pools.all()]

    def take(self, deadline: float | None) -> Connection[Any]:
        """Take a connection out of the pool, and open the pool if this is the first call."""
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
        """Return it to the pool. If it broke, renew the older ones: each would cost an operation to find out."""
        set_deadline(connection, None)
        try:
            broke = connection.closed and not connection.is_discarded
            if broke and connection.made > connection.renewed:
                type(connection).renewed = monotonic()
                connection.pool.drain()
        finally:
            connection.pool.putconn(connection)

    def interrupted(self, error: BaseException) -> None:
        """Replace the pool, which an interrupt within its own code may have cost a connection.

        That is not necessary if the caller was waiting for one. Connections in use are closed when they are given back.
        """
        if leave_queue(error):
            return
        interrupted = self._pools.pop()
        if interrupted is not None:
            interrupted.close(timeout=_INTERRUPTED)

    def discard(self, connection: DeadlineConnection) -> None:  # type: ignore[override] # Its own.
        """Close a connection whose caller was interrupted, maybe within the driver's own code."""
        connection.is_discarded = True
        connection.close()

    def close(self) -> None:
        """Close the pools."""
        self._pools.close()

    def may_repeat(self, failure: Failure) -> bool:
        """Return True: another connection can send a failed statement again."""
        return True

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate an error of the driver, or the reason why there is no connection."""
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
    """Check the schema while connecting, so that no operation waits for it; the first operation reports an error."""
    with suppress(psycopg.Error, SchemaMismatch):
        if may_be_hidden:
            queries.schema.hide_temporary(connection)
        if schema.passed:
            schema.trust(connection)
        else:
            check(schema, connection)


def _abandon(pool: StorePool) -> None:
    """Close the connections of a pool whose event loop has ended, without waiting."""
    for connection in list(pool.connection_class.opened):
        connection.pgconn.finish()
