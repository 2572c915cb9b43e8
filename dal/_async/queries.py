"""Running a query file on an asynchronous connection."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.pq import Format
from psycopg.rows import args_row

from dal.files import QUERIES
from dal.loader import MetadataLoader, Statement, load


class AsyncQuery(Statement):
    """A query file that runs when it is called: `await async_queries.sessions.get(connection, session_id="…")`."""

    __slots__ = ()

    async def __call__(self, connection: AsyncConnection[Any], /, **parameters: Any) -> Any:
        """Send the statement and return its rows as records: a list, or one or None for a query marked ^.

        Nothing of the connection's own settings is used but its transaction: not its row factory, nor its
        cursor class.
        """
        cursor = self.cursor(connection)
        await cursor.execute(self.sql, self.bind(parameters))
        return self.rows(await cursor.fetchall())

    def cursor(self, connection: AsyncConnection[Any]) -> AsyncRawCursor[Any]:
        """Give a cursor whose rows are its records."""
        cursor = AsyncRawCursor(connection, row_factory=args_row(self.record))  # type: ignore[arg-type]
        cursor.format = Format.BINARY
        if self.has_metadata:
            cursor.adapters.register_loader("jsonb", MetadataLoader)
        return cursor


async_queries = load(QUERIES, AsyncQuery)
"""Every query file as a function that awaits, in a namespace for each folder."""
