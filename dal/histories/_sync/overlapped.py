# Generated from dal/histories/_async/overlapped.py by .ci/async_to_sync.py: change that file, and run it.
"""Work that is done here while the server runs a statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection, Pipeline

from dal._sync.queries import Query, Spare
from dal.sql.loader import Statement


class Overlapped(Query):
    """A query file that is sent in a pipeline of psycopg, and work to do until its rows arrive."""

    __slots__ = ("_pipeline", "_work")

    def __init__(self, query: Query, pipeline: Pipeline, work: Callable[[], None]) -> None:
        for name in Statement.__slots__:  # It is parsed already.
            setattr(self, name, getattr(query, name))
        self._pipeline = pipeline
        self._work = work

    def send(
        self,
        connection: Connection[Any],
        parameters: dict[str, Any],
        spare: Spare | None = None,  # noqa: ARG002 - a pipeline's cursors cannot be used again
    ) -> Any:
        """Send the statement, do the work, and return the rows as the query does."""
        cursor = self.cursor(connection)
        cursor.execute(self.sql, self.bind(parameters))
        self._work()
        self._pipeline.sync()  # Without it the server would stay within the statement until the next one.
        return self.rows(cursor.fetchall())
