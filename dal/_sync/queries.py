# Generated from dal/_async/queries.py by .ci/async_to_sync.py: change that file, and run it.
"""Query files that run on an synchronous connection."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, RawCursor
from psycopg.pq import Format

from dal.sql import DISTRIBUTED, QUERIES
from dal.sql.loader import MetadataLoader, Parameters, QueryFileError, Statement, load


class Query(Statement):
    """A query file that runs when it is called: `queries.sessions.get(connection, session_id="…")`."""

    __slots__ = ()

    def __call__(self, connection: Connection[Any], /, **parameters: Any) -> Any:
        """Send the statement and return its rows as records: a list, or one or None for a query marked ^.

        Of the connection's settings only its transaction matters, not its row factory or its cursor class.
        """
        return self.send(connection, parameters)

    def send(self, connection: Connection[Any], parameters: Parameters, spare: Spare | None = None) -> Any:
        """Run the query with these parameters, on a cursor of `spare` if there is one."""
        if not self.is_small:
            spare = None
        cursor = self.cursor(connection) if spare is None else spare.take(self, connection)
        cursor.execute(self.sql, self.bind(parameters))
        rows = self.fetch(cursor)
        if spare is not None:
            spare.cursors[self.name] = cursor
        return rows

    def fetch(self, cursor: RawCursor[Any]) -> Any:
        """Return all rows, or the only row or None of a statement that returns at most one."""
        if self.many:
            return cursor.fetchall()
        if cursor.rowcount > 1:
            raise QueryFileError(f"query {self.name} returned {cursor.rowcount} rows, and at most one is expected")
        return cursor.fetchone()

    def cursor(self, connection: Connection[Any]) -> RawCursor[Any]:
        """Return a cursor whose rows are records."""
        cursor = RawCursor(connection, row_factory=self.row_factory)
        cursor.format = Format.BINARY
        if self.has_metadata:
            cursor.adapters.register_loader("jsonb", MetadataLoader)
        return cursor


class Spare:
    """Unused cursors of one connection, by query: to use them again saves an append 3 % of its time.

    A cursor keeps its last rows in memory, so only small queries use them.
    """

    def __init__(self) -> None:
        self.cursors: dict[str, RawCursor[Any]] = {}
        self._settings: tuple[bytes | None, ...] = ()

    def take(self, query: Query, connection: Connection[Any]) -> RawCursor[Any]:
        """Return an unused cursor. A cursor reads the connection's settings once, so a change of them discards it."""
        setting = connection.pgconn.parameter_status
        settings = setting(b"client_encoding"), setting(b"TimeZone")
        if settings != self._settings:
            self.cursors.clear()
            self._settings = settings
        return self.cursors.pop(query.name, None) or query.cursor(connection)


queries = load(QUERIES, Query, DISTRIBUTED / "queries")
"""Every query file as an synchronous function, in a namespace for each folder."""
