# Generated from dal/histories/_async/overlapped.py by .ci/async_to_sync.py: change that file, and run it.
"""Working while the server works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection, Pipeline

from dal._sync.queries import Query, Spare
from dal.loader import Statement


class Meanwhile(Query):
    """A query file that goes in a pipeline, and what is done here while the server runs it."""

    __slots__ = ("_pipeline", "_work")

    def __init__(self, query: Query, pipeline: Pipeline, work: Callable[[], None] = lambda: None) -> None:
        for name in Statement.__slots__:  # It is parsed already.
            setattr(self, name, getattr(query, name))
        self._pipeline = pipeline
        self._work = work

    def send(
        self,
        connection: Connection[Any],
        parameters: dict[str, Any],
        spare: Spare | None = None,  # noqa: ARG002 - the pipeline's cursors are its own
    ) -> Any:
        """Send the statement, do the work, and return the rows as the query does."""
        cursor = self.cursor(connection)
        cursor.execute(self.sql, self.bind(parameters))
        self._work()
        self._pipeline.sync()  # Asked for its rows alone, the server would be in the midst of it until the next.
        return self.rows(cursor.fetchall())
