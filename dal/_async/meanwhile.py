"""Working while the server works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from dal._async.queries import AsyncQuery
from dal.loader import Statement


class AsyncMeanwhile(AsyncQuery):
    """A query file, and what is done here while the server runs it."""

    __slots__ = ("_work",)

    def __init__(self, query: AsyncQuery, work: Callable[[], None]) -> None:
        for name in Statement.__slots__:  # It is parsed already.
            setattr(self, name, getattr(query, name))
        self._work = work

    async def __call__(self, connection: AsyncConnection[Any], /, **parameters: Any) -> Any:
        """Send the statement, do the work, and return the rows as the query does.

        In the driver's pipeline: outside of one, it waits for the rows before the work is begun.
        """
        cursor = self.cursor(connection)
        await cursor.execute(self.sql, self.bind(parameters))
        self._work()
        return self.rows(await cursor.fetchall())
