"""Work that is done here while the server runs a statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection, AsyncPipeline

from dal._async.queries import AsyncQuery, AsyncSpare
from dal.sql.loader import Statement


class AsyncOverlapped(AsyncQuery):
    """A query file that is sent in a pipeline of psycopg, and work to do until its rows arrive."""

    __slots__ = ("_pipeline", "_work")

    def __init__(self, query: AsyncQuery, pipeline: AsyncPipeline, work: Callable[[], None]) -> None:
        for name in Statement.__slots__:  # It is parsed already.
            setattr(self, name, getattr(query, name))
        self._pipeline = pipeline
        self._work = work

    async def send(
        self,
        connection: AsyncConnection[Any],
        parameters: dict[str, Any],
        spare: AsyncSpare | None = None,  # noqa: ARG002 - a pipeline's cursors cannot be used again
    ) -> Any:
        """Send the statement, do the work, and return the rows as the query does."""
        cursor = self.cursor(connection)
        await cursor.execute(self.sql, self.bind(parameters))
        self._work()
        await self._pipeline.sync()  # Without it the server would stay within the statement until the next one.
        return self.rows(await cursor.fetchall())
