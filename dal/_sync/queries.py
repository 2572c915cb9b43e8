# Generated from dal/_async/queries.py by .ci/async_to_sync.py: change that file, and run it.
"""Running a query file on an synchronous connection."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, RawCursor
from psycopg.rows import args_row

from dal.files import QUERIES
from dal.loader import Statement, load


class Query(Statement):
    """A query file that runs when it is called: `queries.sessions.get(connection, session_id="…")`."""

    __slots__ = ()

    def __call__(self, connection: Connection[Any], /, **parameters: Any) -> Any:
        """Send the statement and return its rows as records: a list, or one or None for a query marked ^.

        Nothing of the connection's own settings is used but its transaction: not its row factory, nor its
        cursor class.
        """
        cursor = RawCursor(connection, row_factory=args_row(self.record))  # type: ignore[arg-type]
        cursor.execute(self.sql, self.bind(parameters), binary=self.binary)
        rows = cursor.fetchall()
        return rows if self.many else self.only(rows)


queries = load(QUERIES, Query)
"""Every query file as a function that awaits, in a namespace for each folder."""
