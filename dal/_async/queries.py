"""Query files that run on an asynchronous connection."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.pq import Format
from psycopg.rows import args_row

from dal.sql import DISTRIBUTED, QUERIES
from dal.sql.loader import MetadataLoader, Statement, load


class AsyncQuery(Statement):
    """A query file that runs when it is called: `await async_queries.sessions.get(connection, session_id="…")`."""

    __slots__ = ()

    async def __call__(self, connection: AsyncConnection[Any], /, **parameters: Any) -> Any:
        """Send the statement and return its rows as records: a list, or one or None for a query marked ^.

        Of the connection's settings only its transaction matters, not its row factory or its cursor class.
        """
        return await self.send(connection, parameters)

    async def send(
        self, connection: AsyncConnection[Any], parameters: dict[str, Any], spare: AsyncSpare | None = None
    ) -> Any:
        """Run the query with these parameters, on a cursor of `spare` if there is one."""
        cursor = self.cursor(connection) if spare is None else spare.take(self, connection)
        await cursor.execute(self.sql, self.bind(parameters))
        rows = await cursor.fetchall()
        if spare is not None:
            spare.give_back(self, cursor)
        return self.rows(rows)

    def cursor(self, connection: AsyncConnection[Any]) -> AsyncRawCursor[Any]:
        """Return a cursor whose rows are records."""
        cursor = AsyncRawCursor(connection, row_factory=args_row(self.record))  # type: ignore[arg-type]
        cursor.format = Format.BINARY
        if self.has_metadata:
            cursor.adapters.register_loader("jsonb", MetadataLoader)
        return cursor


class AsyncSpare:
    """Cursors of one connection to use again, which saves an append 3 % of its time (bench/test_overhead.py).

    Only for statements that return at most one row, without metadata: a cursor keeps its last rows in memory.
    """

    def __init__(self) -> None:
        self._cursors: dict[str, AsyncRawCursor[Any]] = {}
        self._settings: tuple[bytes | None, ...] = ()

    def take(self, query: AsyncQuery, connection: AsyncConnection[Any]) -> AsyncRawCursor[Any]:
        """Return an unused cursor. A cursor reads the connection's settings once, so a change of them discards it."""
        status = connection.pgconn.parameter_status
        settings = status(b"client_encoding"), status(b"TimeZone")
        if settings != self._settings:
            self._cursors.clear()
            self._settings = settings
        return self._cursors.pop(query.name, None) or query.cursor(connection)

    def give_back(self, query: AsyncQuery, cursor: AsyncRawCursor[Any]) -> None:
        """Keep the cursor for the next run of this query."""
        if not query.many and not query.has_metadata:
            self._cursors[query.name] = cursor


async_queries = load(QUERIES, AsyncQuery, DISTRIBUTED / "queries")
"""Every query file as an asynchronous function, in a namespace for each folder."""
