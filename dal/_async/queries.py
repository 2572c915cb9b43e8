"""Running a query file on an asynchronous connection."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.rows import args_row

from dal.files import QUERIES
from dal.loader import Statement, load


class AsyncQuery(Statement):
    """A query file that runs when it is called: `await async_queries.sessions.get(connection, session_id="…")`."""

    __slots__ = ()

    async def __call__(self, connection: AsyncConnection[Any], /, **parameters: Any) -> Any:
        """Send the statement and return its rows as records: a list, or one or None for a query marked ^.

        Nothing of the connection's own settings is used but its transaction: not its row factory, nor its
        cursor class.
        """
        cursor = AsyncRawCursor(connection, row_factory=args_row(self.record))  # type: ignore[arg-type]
        await cursor.execute(self.sql, self.bind(parameters), binary=self.binary)
        rows = await cursor.fetchall()
        return rows if self.many else self.only(rows)


async_queries = load(QUERIES, AsyncQuery)
"""Every query file as a function that awaits, in a namespace for each folder."""
