"""Work to do while the server runs a statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection, AsyncPipeline

from dal._async.queries import AsyncQuery, AsyncSpare
from dal.sql.loader import Statement


class AsyncOverlapped(AsyncQuery):
    """A query file that is sent in a pipeline; `work` runs before its rows are read."""

    __slots__ = ("_pipeline", "_work")

    def __init__(self, query: AsyncQuery, pipeline: AsyncPipeline, work: Callable[[], None]) -> None:
        for name in Statement.__slots__:  # A copy of the parsed query file.
            setattr(self, name, getattr(query, name))
        self._pipeline = pipeline
        self._work = work

    async def send(
        self,
        connection: AsyncConnection[Any],
        parameters: dict[str, Any],
        spare: AsyncSpare | None = None,  # noqa: ARG002 - cursors of a pipeline cannot be used again
    ) -> Any:
        """Send the statement, do the work, and return the rows as the query does."""
        cursor = self.cursor(connection)
        await cursor.execute(self.sql, self.bind(parameters))
        self._work()
        await self._pipeline.sync()  # Else the statement would stay open until the next one is sent.
        return self.rows(await cursor.fetchall())
