"""Keeping a connection from one statement to the next, for who has more to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from dal._async.runner import AsyncRunner
from dal.retries import Attempts

_IN_A_ROW = 1000
"""Statements after which a connection is given back all the same: the pool replaces those that are old."""


class AsyncKeeping(AsyncRunner):
    """A runner that keeps its connections while there is more to send, and nobody else waits for one.

    A pool gives all its connections by turns, of which each one's server process has been asleep the longest.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.has_more: Callable[[], bool] = bool
        """Whether another statement is to be sent at once."""
        self._kept: list[AsyncConnection[Any]] = []
        self._sent = 0

    async def rest(self) -> None:
        """Give back what is kept, if there is nothing more to send."""
        while self._kept and not self.has_more():
            await self._release()

    async def _release(self) -> None:
        try:
            connection = self._kept.pop()
        except IndexError:  # Another thread has taken it.
            return
        await super()._give_back(connection, commit=True)

    async def _take(self, attempts: Attempts) -> AsyncConnection[Any]:
        if self._source.ended is None:
            try:
                return self._kept.pop()
            except IndexError:
                pass
        return await super()._take(attempts)

    async def _give_back(self, connection: AsyncConnection[Any], *, commit: bool) -> None:
        self._sent += 1
        if commit and self.has_more() and self._sent % _IN_A_ROW and self._source.may_keep(connection):
            self._kept.append(connection)
            await self.rest()  # What was to be sent may be so no more.
            return
        await super()._give_back(connection, commit=commit)
        while self._kept:
            await self._release()
