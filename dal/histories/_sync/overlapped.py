# Generated from dal/histories/_async/overlapped.py by .ci/async_to_sync.py: change that file, and run it.
"""Work to do while the server runs a statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection, Pipeline

from dal._sync.queries import Query, Spare
from dal.sql.loader import Statement


class Overlapped(Query):
    """A query file that is sent in a pipeline; `work` runs before its rows are read."""

    __slots__ = ("_pipeline", "_work")

    def __init__(self, query: Query, pipeline: Pipeline, work: Callable[[], None]) -> None:
        for name in Statement.__slots__:  # A copy of the parsed query file.
            setattr(self, name, getattr(query, name))
        self._pipeline = pipeline
        self._work = work

    def send(
        self,
        connection: Connection[Any],
        parameters: dict[str, Any],
        spare: Spare | None = None,  # noqa: ARG002 - cursors of a pipeline cannot be used again
    ) -> Any:
        """Send the statement, do the work, and return the rows as the query does."""
        cursor = self.cursor(connection)
        cursor.execute(self.sql, self.bind(parameters))
        self._work()
        self._pipeline.sync()  # Else the statement would stay open until the next one is sent.
        return self.rows(cursor.fetchall())
