# Generated from dal/_async/sources.py by .ci/async_to_sync.py: change that file, and run it.
"""Sources of connections: a connection or a pool of the caller's, and a writer's. pool.py has the store's own pool."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg_pool import ConnectionPool

from dal._sync.connection import LentTimeLimits, limits_of, set_deadline
from dal._sync.queries import Spare
from dal._sync.scopes import Home
from dal.driver_errors import translate
from dal.errors import DalError, InvalidInput, StatementFailed
from dal.retries import Failure, classify

_IN_A_ROW = 1000
"""Statements after which a kept connection is returned all the same: the pool replaces old ones."""


class Source:
    """A source of connections. By default there is nothing to do but to take a connection and to give it back."""

    ended: str | None = None
    """The reason why no more statements are sent."""

    is_pooled = False
    """True if operations run on different connections, each in a transaction of its own."""

    spare: Spare | None = None
    """Cursors to use again, if there is only one connection."""

    @property
    def pools(self) -> list[ConnectionPool[Any]]:
        """The pools of this process that the connections come from."""
        return []

    @property
    def has_own_transaction(self) -> bool:
        """True if each statement commits by itself."""
        return True

    def take(self, deadline: float | None) -> Connection[Any]:
        """Return a connection, by the deadline if there is one."""
        raise NotImplementedError

    def give_back(self, connection: Connection[Any], *, commit: bool) -> None:
        """End the use of a connection."""
        raise NotImplementedError

    def is_reusable(self, connection: Connection[Any]) -> bool:
        """Return whether the next statement may use a connection before it is given back."""
        return False

    def occupy(self, what: str) -> None:
        """Reserve the connection for a transaction that no other call may join, if calls share it."""

    def release(self) -> None:
        """End the reservation."""

    def discard(self, connection: Connection[Any]) -> None:
        """Close a connection whose caller was interrupted, unless it is the caller's own."""

    def interrupted(self, error: BaseException) -> None:
        """Replace a pool in whose code the caller was interrupted, unless it is the caller's own."""

    def close(self) -> None:
        """Close the store's own pool."""

    def may_repeat(self, failure: Failure) -> bool:
        """Return whether a failed statement may be sent again."""
        return True

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate an error of the driver."""
        return translate(error, query)


class Single(Source):
    """A connection of the caller's, inside or outside a transaction."""

    def __init__(self, connection: Connection[Any], timeout: float | None = None) -> None:
        self._connection = connection
        self._timeout = timeout
        self._home = Home()
        self.spare = Spare()
        self._busy_with: str | None = None
        self._has_limits = limits_of(connection) is not None
        """True if a store with a timeout has lent the connection."""

    @property
    def has_own_transaction(self) -> bool:
        """True in autocommit mode outside a transaction block: each statement then commits by itself."""
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
        if self._timeout is not None:
            LentTimeLimits.end(connection)
        elif self._has_limits:
            set_deadline(connection, None)

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


class Pooled(Source):
    """A pool of the caller's."""

    is_pooled = True

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
            if self._timeout is not None:
                LentTimeLimits.end(connection)
            self._given.putconn(connection)

    def is_reusable(self, connection: Connection[Any]) -> bool:
        """Return whether the next statement may use it: its transaction has ended, and no call waits for one."""
        waiting = self._pool.get_stats().get("requests_waiting")
        return connection.autocommit and not (waiting or connection.closed or self._pool.closed)

    def may_repeat(self, failure: Failure) -> bool:
        """Return whether a failed statement may be sent again: not if the pool would have to be renewed first."""
        return failure is not Failure.STALE


def source_of(source: object, timeout: float | None) -> Source:
    """Return the source for a pool or a connection of the caller's."""
    if isinstance(source, ConnectionPool):
        return Pooled(source, timeout)
    if isinstance(source, Connection):
        return Single(source, timeout)
    raise InvalidInput("source", f"must be an ConnectionPool or an Connection, not {type(source).__name__}")


class Sticky:
    """A source whose connections are reused at once while calls are queued and nobody else waits for a connection.

    A pool hands out all its connections by turns, and the server process of each has slept the longest. Without this,
    64 callers of one session store 0.82 to 0.99 times the messages, and of many sessions 0.91 to 1.04 times.
    """

    def __init__(self, source: Source, has_more: Callable[[], bool]) -> None:
        self._source = source
        self._has_more = has_more
        self._kept: list[Connection[Any]] = []
        self._sent = 0

    def take(self, deadline: float | None) -> Connection[Any]:
        """Return a kept connection, or take one from the source."""
        with suppress(IndexError):  # There is none, or another thread was faster.
            return self._kept.pop()
        return self._source.take(deadline)

    def give_back(self, connection: Connection[Any], *, commit: bool) -> None:
        """Keep the connection if more is queued; else return all to the source."""
        self._sent += 1
        if commit and self._has_more() and self._sent % _IN_A_ROW and self._source.is_reusable(connection):
            set_deadline(connection, None)
            self._kept.append(connection)
            return
        self._source.give_back(connection, commit=commit)
        self.release()

    def release(self) -> None:
        """Return the kept connections to the source."""
        with suppress(IndexError):
            while True:
                self._source.give_back(self._kept.pop(), commit=True)
