"""Exports: sessions and their messages as lines, from one snapshot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, AsyncPipeline, IsolationLevel

from dal._async.queries import AsyncQuery, AsyncSpare, async_queries
from dal._async.runner import AsyncRunner
from dal.histories.pages import PAGE, MessagePages
from dal.sql.loader import Parameters, Statement


async def export(
    runner: AsyncRunner, *, user_id: str | None, source: str | None, since: datetime | None, until: datetime | None
) -> AsyncGenerator[bytes]:
    """Yield chunks of whole lines. While the server reads a page, this side writes the lines of the previous one."""
    wanted: dict[str, Any] = {"source": source, "since": since, "until": until, "limit": PAGE}
    query: AsyncQuery = async_queries.sessions.export
    if user_id is not None:
        wanted["user_id"] = user_id
        query = async_queries.sessions.export_of_user
    pages = MessagePages()
    listed_after, id_after = "-infinity", ""
    async with (
        runner.exclusive_transaction("export", IsolationLevel.REPEATABLE_READ, read_only=True) as (
            connection,
            snapshot,
        ),
        connection.pipeline() as pipeline,
    ):
        sessions_page = AsyncOverlapped(query, pipeline, pages.write)
        messages_page = AsyncOverlapped(async_queries.messages.export, pipeline, pages.write)
        while True:
            sessions = await snapshot.run(sessions_page, listed_after=listed_after, id_after=id_after, **wanted)
            if pages.lines:
                yield pages.lines
            if not sessions:
                return
            pages.begin(sessions)
            while (page := pages.parameters()) is not None:
                rows = await snapshot.run(messages_page, **page)
                if pages.lines:
                    yield pages.lines
                pages.take(rows)
            listed_after, id_after = sessions[-1].listed_at.isoformat(), sessions[-1].session_id


class AsyncOverlapped(AsyncQuery):
    """A query file that is sent in a pipeline; `work` runs before its rows are read."""

    __slots__ = ("_pipeline", "_work")

    def __init__(self, query: AsyncQuery, pipeline: AsyncPipeline, work: Callable[[], None]) -> None:
        for name in Statement.__slots__:  # A copy of the parsed query file.
            setattr(self, name, getattr(query, name))
        self._pipeline = pipeline
        self._work = work

    @property
    def distributed(self) -> AsyncQuery:
        """The same for the second form of the query."""
        other = super().distributed
        return self if other is self else AsyncOverlapped(other, self._pipeline, self._work)

    async def send(
        self,
        connection: AsyncConnection[Any],
        parameters: Parameters,
        spare: AsyncSpare | None = None,  # noqa: ARG002 - cursors of a pipeline cannot be used again
    ) -> Any:
        """Send the statement, do the work, and return the rows as the query does."""
        cursor = self.cursor(connection)
        await cursor.execute(self.sql, self.bind(parameters))
        self._work()
        await self._pipeline.sync()  # Else the statement would stay open until the next one is sent.
        return await self.fetch(cursor)
