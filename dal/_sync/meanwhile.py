# Generated from dal/_async/meanwhile.py by .ci/async_to_sync.py: change that file, and run it.
"""Working while the server works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection

from dal._sync.queries import Query
from dal.loader import Statement


class Meanwhile(Query):
    """A query file, and what is done here while the server runs it."""

    __slots__ = ("_work",)

    def __init__(self, query: Query, work: Callable[[], None]) -> None:
        for name in Statement.__slots__:  # It is parsed already.
            setattr(self, name, getattr(query, name))
        self._work = work

    def __call__(self, connection: Connection[Any], /, **parameters: Any) -> Any:
        """Send the statement, do the work, and return the rows as the query does.

        In the driver's pipeline: outside of one, it waits for the rows before the work is begun.
        """
        cursor = self.cursor(connection)
        cursor.execute(self.sql, self.bind(parameters))
        self._work()
        return self.rows(cursor.fetchall())
