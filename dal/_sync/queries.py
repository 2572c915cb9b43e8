# Generated from dal/_async/queries.py by .ci/async_to_sync.py: change that file, and run it.
"""Running a query file on an synchronous connection."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, RawCursor
from psycopg.pq import Format
from psycopg.rows import args_row

from dal.files import QUERIES
from dal.loader import MetadataLoader, Statement, load


class Query(Statement):
    """A query file that runs when it is called: `queries.sessions.get(connection, session_id="…")`."""

    __slots__ = ()

    def __call__(self, connection: Connection[Any], /, **parameters: Any) -> Any:
        """Send the statement and return its rows as records: a list, or one or None for a query marked ^.

        Nothing of the connection's own settings is used but its transaction: not its row factory, nor its
        cursor class.
        """
        cursor = self.cursor(connection)
        cursor.execute(self.sql, self.bind(parameters))
        return self.rows(cursor.fetchall())

    def cursor(self, connection: Connection[Any]) -> RawCursor[Any]:
        """Give a cursor whose rows are its records."""
        cursor = RawCursor(connection, row_factory=args_row(self.record))  # type: ignore[arg-type]
        cursor.format = Format.BINARY
        if self.has_metadata:
            cursor.adapters.register_loader("jsonb", MetadataLoader)
        return cursor


queries = load(QUERIES, Query)
"""Every query file as a function that awaits, in a namespace for each folder."""
