"""Working while the server works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection, AsyncPipeline

from dal._async.queries import AsyncQuery, AsyncSpare
from dal.loader import Statement


class AsyncMeanwhile(AsyncQuery):
    """A query file that goes in a pipeline, and what is done here while the server runs it."""

    __slots__ = ("_pipeline", "_work")

    def __init__(self, query: AsyncQuery, pipeline: AsyncPipeline, work: Callable[[], None] = lambda: None) -> None:
        for name in Statement.__slots__:  # It is parsed already.
            setattr(self, name, getattr(query, name))
        self._pipeline = pipeline
        self._work = work

    async def send(
        self,
        connection: AsyncConnection[Any],
        parameters: dict[str, Any],
        spare: AsyncSpare | None = None,  # noqa: ARG002 - the pipeline's cursors are its own
    ) -> Any:
        """Send the statement, do the work, and return the rows as the query does."""
        cursor = self.cursor(connection)
        await cursor.execute(self.sql, self.bind(parameters))
        self._work()
        await self._pipeline.sync()  # Asked for its rows alone, the server would be in the midst of it until the next.
        return self.rows(await cursor.fetchall())
