"""Connections that never wait longer than a deadline, and that keep their settings when they are lent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, ClassVar, Self, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.errors import Diagnostic, QueryCanceled, lookup
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from dal.driver_errors import TooLate
from dal.processes import detach_in_child, interrupts
from dal.retries import Failure, classify

T = TypeVar("T")

_CANCEL = 1.0
"""Seconds for the request to cancel a statement."""

_OF_ROWS = ("row_factory", "cursor_factory", "prepare_threshold")
_OF_TRANSACTIONS = ("autocommit", "isolation_level", "read_only", "deferrable")
"""The settings of a connection that its borrower may change."""


class AsyncTimeLimits:
    """How long a connection may wait for the server."""

    deadline: float | None = None
    """The deadline of the call that uses the connection, by time.monotonic()."""

    limit: float | None = None
    """Seconds for everything else, such as the pool's own checks."""

    def _left(self, timeout: float | None) -> float | None:
        if timeout is not None:
            return timeout
        return self.limit if self.deadline is None else self.deadline - monotonic()


class AsyncLentTimeLimits(AsyncTimeLimits):
    """The time limits of a caller's connection while a store uses it, by replacing its `wait`."""

    def __init__(self, connection: AsyncConnection[Any], limit: float) -> None:
        self.limit = limit
        self._connection = connection
        vars(connection)["wait"] = self.wait

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109
        """Wait for the server as the connection does, but not beyond the deadline."""
        wait = partial(type(self._connection).wait, self._connection)
        return await _within(self._left(timeout), self._connection, wait, gen, interval)

    @staticmethod
    def end(connection: AsyncConnection[Any]) -> None:
        """Restore the connection."""
        vars(connection).pop("wait", None)


class AsyncDeadlineConnection(AsyncTimeLimits, AsyncConnection[Any]):
    """A connection of the store's own pool, which is closed at the deadline of the call that uses it.

    The server's statement_timeout is not enough: a server that hangs does not enforce it.
    """

    made: float
    """When it was connected."""

    farewell: list[psycopg.Error]
    """The error with which the server ended it, if it did."""

    is_discarded = False
    """True once it is closed for an interrupted caller; a broken connection stays False."""

    pool: AsyncConnectionPool[Any]
    """The pool that it belongs to."""

    # Each pool has a subclass, which these belong to:
    why_not: ClassVar[psycopg.Error | None] = None
    """The error of the last attempt to connect; None if it succeeded."""

    renewed: ClassVar[float]
    """When the pool's connections were last replaced, by time.monotonic()."""

    opened: ClassVar[WeakSet[AsyncDeadlineConnection]]
    """The pool's connections."""

    @classmethod
    async def connect(cls, *arguments: Any, **settings: Any) -> Self:
        """Connect, and remember the error if that fails."""
        try:
            connection = await super().connect(*arguments, **settings)
        except BaseException as error:
            # The frames of its traceback hold the attempt's socket open, as long as anyone keeps the error.
            error.__traceback__ = None
            if isinstance(error, psycopg.Error):
                cls.why_not = error
            raise
        cls.why_not = None
        connection.made = monotonic()
        connection.farewell = []
        connection.add_notice_handler(partial(_keep_farewell, connection.farewell))
        cls.opened.add(connection)
        detach_in_child(connection)
        return connection

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109
        """Wait for the server; at the deadline close the connection, since the reply may still arrive.

        A connection to a read-only server is closed too: the next one may lead to the primary.
        """
        try:
            return await _within(self._left(timeout), self, super().wait, gen, interval)
        except TooLate:
            raise
        except psycopg.Error as error:
            if classify(error) is Failure.STALE:
                await self.close()
            if error.sqlstate is None and self.farewell:
                raise self.farewell[-1] from error
            raise
        except BaseException as error:
            if interrupts(error) and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error):  # The driver does that after KeyboardInterrupt and SystemExit alone.
                    await self.cancel_safe()
            raise

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109
        """Cancel the running statement within a second, or else close the connection.

        The driver alone would wait ten seconds for a server that hangs.
        """
        try:
            await super().cancel_safe(timeout=min(timeout, _CANCEL))
        except psycopg.Error:
            await self.close()
            raise


def _keep_farewell(farewell: list[psycopg.Error], notice: Diagnostic) -> None:
    """Keep a notice that ends the connection, as an error; the driver reports only that the connection was lost."""
    if notice.severity_nonlocalized == "FATAL" and notice.sqlstate:
        with suppress(KeyError):
            farewell.append(lookup(notice.sqlstate)(notice.message_primary or ""))


async def _within(
    seconds: float | None, connection: AsyncConnection[Any], wait: Callable[..., Any], gen: PQGen[T], interval: float
) -> T:
    """Wait at most so many seconds; then close the connection, since the reply may still arrive.

    The server's statement_timeout may be faster, so that the reply is that the statement was canceled.
    """
    ends = inf if seconds is None else monotonic() + seconds
    try:
        reply: T = await wait(gen, interval, seconds)
    except psycopg.Error as error:
        was_canceled = isinstance(error, QueryCanceled)
        if monotonic() < ends or not (was_canceled or error.sqlstate is None):
            raise
        if not was_canceled:
            await connection.close()
        late = TooLate("no reply came in time")
        late.sqlstate = error.sqlstate
        raise late from error
    return reply


def limits_of(connection: AsyncConnection[Any]) -> AsyncTimeLimits | None:
    """Return the time limits of a connection: itself, or those of a caller's connection while a store uses it."""
    limits = getattr(connection.wait, "__self__", None)
    return limits if isinstance(limits, AsyncTimeLimits) else None


def set_deadline(connection: AsyncConnection[Any], deadline: float | None) -> None:
    """Set the deadline of a connection with time limits; None lets each wait take its own limit."""
    limits = limits_of(connection)
    if limits is not None:
        limits.deadline = deadline


async def forget_statements(connection: AsyncConnection[Any]) -> None:
    """Make psycopg prepare its statements again, as it does after each rollback.

    In a transaction this does nothing, since the transaction has failed and will be rolled back.
    """
    if connection.info.transaction_status == TransactionStatus.IDLE:
        async with connection.transaction(force_rollback=True):
            pass


@asynccontextmanager
async def settings_kept(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Commit at the end of the block, unless in autocommit mode, and restore the settings."""
    before = {name: getattr(connection, name) for name in (*_OF_ROWS, *_OF_TRANSACTIONS)}
    try:
        yield
        if not connection.autocommit:
            await connection.commit()
    finally:
        with suppress(psycopg.Error):  # The connection is broken; the pool replaces it.
            await _restore(connection, before)


async def _restore(connection: AsyncConnection[Any], before: dict[str, Any]) -> None:
    for name in _OF_ROWS:
        setattr(connection, name, before[name])
    changed = [name for name in _OF_TRANSACTIONS if getattr(connection, name) != before[name]]
    if changed and connection.info.transaction_status != TransactionStatus.IDLE:
        await connection.rollback()
    for name in changed:
        await getattr(connection, f"set_{name}")(before[name])
