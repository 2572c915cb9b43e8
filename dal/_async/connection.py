"""A connection on which nothing waits forever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, ClassVar, Self, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.errors import Diagnostic, lookup
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from dal.errors import TooLate
from dal.interrupts import interrupts
from dal.processes import detach_in_child
from dal.retries import After, after

T = TypeVar("T")

_CANCEL = 1.0
"""Seconds within which the server must have been told to cancel."""


class _Farewell:
    """The error by which the server ended a connection while nothing ran on it.

    It comes as a notice then, and in a pipeline the driver tells no more than that the connection was lost.
    """

    error: psycopg.Error | None = None

    def hear(self, notice: Diagnostic) -> None:
        """Keep a notice that ends the connection."""
        if notice.severity_nonlocalized == "FATAL" and notice.sqlstate:
            with suppress(KeyError):
                self.error = lookup(notice.sqlstate)(notice.message_primary or "")


class AsyncBounds:
    """What a connection waits for at most."""

    deadline: float | None = None
    """When the call that uses the connection ends, by time.monotonic()."""

    limit: float | None = None
    """How many seconds anything else may take on it, such as the pool's own checks."""

    def _left(self, timeout: float | None) -> float | None:
        if timeout is not None:
            return timeout
        return self.limit if self.deadline is None else self.deadline - monotonic()


class AsyncLent(AsyncBounds):
    """The bounds of a caller's connection while a store uses it. All that is sent on it goes through its `wait`."""

    def __init__(self, connection: AsyncConnection[Any], limit: float) -> None:
        self.limit = limit
        self._connection = connection
        vars(connection)["wait"] = self.wait

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109
        """Wait for the server as the connection does, until the deadline."""
        wait = partial(type(self._connection).wait, self._connection)
        return await _within(self._left(timeout), self._connection, wait, gen, interval)

    @staticmethod
    def end(connection: AsyncConnection[Any]) -> None:
        """Bound the connection no more."""
        vars(connection).pop("wait", None)


class AsyncBounded(AsyncBounds, AsyncConnection[Any]):
    """A connection of the store's own pool: it is given up at the deadline of the call that uses it.

    The server's statement_timeout does the same there, but a server that hangs keeps no time.
    """

    made: float
    """When it was connected."""

    farewell: _Farewell
    """Why the server ended it."""

    is_discarded = False
    """Whether it was closed because its user was interrupted: it did not break."""

    pool: AsyncConnectionPool[Any]
    """The pool that it was taken from."""

    # Of a pool's subclass:
    why_not: ClassVar[psycopg.Error | None] = None
    """Why its last attempt to connect failed."""

    renewed: ClassVar[float]
    """When all its connections were replaced, by time.monotonic()."""

    opened: ClassVar[WeakSet[AsyncBounded]]
    """Its connections."""

    @classmethod
    async def connect(cls, *arguments: Any, **settings: Any) -> Self:
        """Connect, and remember why not."""
        try:
            connection = await super().connect(*arguments, **settings)
        except psycopg.Error as error:
            cls.why_not = error
            raise
        cls.why_not = None
        connection.made = monotonic()
        connection.farewell = _Farewell()
        connection.add_notice_handler(connection.farewell.hear)
        cls.opened.add(connection)
        detach_in_child(connection)
        return connection

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109
        """Wait for the server, until the deadline; then close, since the answer may still come.

        One that only reads is closed too: the next may lead to the server that writes.
        """
        try:
            return await _within(self._left(timeout), self, super().wait, gen, interval)
        except TooLate:
            raise
        except psycopg.Error as error:
            if after(error) is After.STALE:
                await self.close()
            if error.sqlstate is None and self.farewell.error is not None:
                raise self.farewell.error from error
            raise
        except BaseException as error:
            if interrupts(error) and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error):  # The driver does that after KeyboardInterrupt and SystemExit alone.
                    await self.cancel_safe()
            raise

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109
        """Cancel what runs, as the driver does when it is interrupted, within a second; or else close.

        The driver gives a server that hangs five seconds to be told, and five more to end the statement.
        """
        try:
            await super().cancel_safe(timeout=min(timeout, _CANCEL))
        except psycopg.Error:
            await self.close()
            raise


async def _within(
    seconds: float | None, connection: AsyncConnection[Any], wait: Callable[..., Any], gen: PQGen[T], interval: float
) -> T:
    """Wait so many seconds at most; then close the connection, since the answer may still come."""
    ends = inf if seconds is None else monotonic() + seconds
    try:
        waited_for: T = await wait(gen, interval, seconds)
    except psycopg.Error as error:
        if error.sqlstate is None and monotonic() >= ends:
            await connection.close()
            raise TooLate("no answer came in time") from error
        raise
    return waited_for


def until(connection: AsyncConnection[Any], deadline: float | None) -> None:
    """Give the connection up at this time, if it is bounded; with None, let each of its waits take its limit."""
    bounds = getattr(connection.wait, "__self__", None)  # The connection itself, or what bounds a caller's.
    if isinstance(bounds, AsyncBounds):
        bounds.deadline = deadline
