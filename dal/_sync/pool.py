# Generated from dal/_async/pool.py by .ci/async_to_sync.py: change that file, and run it.
"""The store's own pool: how it is made, checked, renewed after an error or an interrupt, and closed."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from time import monotonic
from traceback import walk_tb
from typing import Any, ClassVar
from weakref import WeakSet

import psycopg
from psycopg import Connection
from psycopg_pool.errors import PoolClosed, PoolTimeout
from psycopg_pool.pool import ConnectionPool, ReturnConnection, WaitingClient

from dal._sync.connection import DeadlineConnection
from dal._sync.per_scope import PerScope
from dal._sync.queries import queries
from dal._sync.schema import check
from dal._sync.scopes import EndingPool
from dal._sync.sources import Pooled
from dal.conninfo import PoolSettings
from dal.driver_errors import translate
from dal.errors import DalError, SchemaMismatch
from dal.processes import OfOneProcess
from dal.retries import Failure
from dal.schema.check import SchemaCheck

_INTERRUPTED = 0.1
"""Seconds that an interrupted caller waits for the pool's workers to end."""


class StorePool(OfOneProcess, EndingPool):
    """The store's own pool, in one process and event loop."""

    def _maybe_grow_pool(self) -> None:
        """Open another connection, but not for the first caller: `open` is already connecting for that one."""
        if self.connection_class.opened or len(self._waiting) > self._nconns:
            super()._maybe_grow_pool()


class OwnPool(Pooled):
    """The store's own pools: one in each process and event loop, opened by the first operation there."""

    def __init__(self, given: PoolSettings, schema: SchemaCheck, reconnect_timeout: float | None = None) -> None:
        conninfo = given.complete_conninfo()
        # A connection string made from `schema` names pg_temp already.
        may_be_hidden = not given.pgbouncer and "pg_temp" not in conninfo
        settings = {
            "conninfo": conninfo,
            "kwargs": {"autocommit": True, "prepare_threshold": given.prepare_threshold},
            "configure": partial(_check_early, schema, may_be_hidden),
            "open": False,
            "timeout": given.timeout,
            # Give up early, and start again with the next request: by default the pool would try for five minutes
            # at growing intervals, and find a server that is back only at the next one.
            "reconnect_timeout": given.timeout if reconnect_timeout is None else reconnect_timeout,
            "min_size": given.min_size,
            "max_size": given.max_size,
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
        connection.deadline = None
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
        if _leave_queue(error):
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
        pool = self._pool
        if isinstance(error, PoolTimeout):
            # A call that found the pool open just before it was closed waits in vain, and gets no reason from the pool.
            closed = PoolClosed(f"the pool {pool.name!r} is closed") if pool.closed else None
            error = closed or pool.connection_class.why_not or error
        return translate(error, query)


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


def _leave_queue(error: BaseException) -> bool:
    """Remove an interrupted caller from the queue of its pool; return False if it was not in a queue.

    The pool handles only an Exception there; after another one it would hand a connection to the missing client.
    """
    found = _place_in_queue(error)
    if found is None:
        return False
    pool, client = found
    if not client.fail(PoolTimeout("interrupted")) and client.conn is not None:
        pool.run_task(ReturnConnection(pool, client.conn, from_getconn=True))
    return True


def _place_in_queue(error: BaseException) -> tuple[ConnectionPool[Any], WaitingClient[Any]] | None:
    """Find the pool and its waiting client in the traceback of the interrupt."""
    pool = None
    for frame, _ in walk_tb(error.__traceback__):
        one = frame.f_locals.get("self")
        if isinstance(one, ConnectionPool):
            pool = one
        if pool is not None and isinstance(one, WaitingClient) and frame.f_code is WaitingClient.wait.__code__:
            return pool, one
    return None
