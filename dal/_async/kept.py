"""Keeping connections from one statement to the next, for who has more to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from dal._async.connection import until
from dal._async.sources import AsyncPooled, AsyncSingle

_IN_A_ROW = 1000
"""Statements after which a connection is given back all the same: the pool replaces those that are old."""


class AsyncKept:
    """A source's connections, kept while there is more to send and nobody else waits for one.

    A pool gives all its connections by turns, of which each one's server process has been asleep the longest.
    """

    def __init__(self, source: AsyncSingle | AsyncPooled, has_more: Callable[[], bool]) -> None:
        self._source = source
        self._has_more = has_more
        """Whether another statement is to be sent at once."""
        self._kept: list[AsyncConnection[Any]] = []
        self._sent = 0

    async def take(self, deadline: float | None) -> AsyncConnection[Any]:
        """Give one that was kept, or another."""
        if self._kept:
            try:
                return self._kept.pop()
            except IndexError:  # Another thread has taken it.
                pass
        return await self._source.take(deadline)

    async def give_back(self, connection: AsyncConnection[Any], *, commit: bool) -> None:
        """Keep it, or put it back, and then all that are kept."""
        self._sent += 1
        if commit and self._has_more() and self._sent % _IN_A_ROW and self._source.may_keep(connection):
            until(connection, None)
            self._kept.append(connection)
            await self.rest()  # What was to be sent may be so no more.
            return
        await self._source.give_back(connection, commit=commit)
        while self._kept:
            await self._release()

    async def rest(self) -> None:
        """Put back what is kept, if there is nothing more to send."""
        while self._kept and not self._has_more():
            await self._release()

    async def _release(self) -> None:
        try:
            connection = self._kept.pop()
        except IndexError:  # Another thread has taken it.
            return
        await self._source.give_back(connection, commit=True)
