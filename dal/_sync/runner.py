# Generated from dal/_async/runner.py by .ci/async_to_sync.py: change that file, and run it.
"""Running the query files: the one way by which this library's statements are sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from dal._sync.queries import Query, queries
from dal._sync.sources import Pooled, Single
from dal.errors import DalError, StoreClosed, translate
from dal.schema import SchemaCheck

_ATTEMPTS = 5
"""How often an append is sent while the same message is being stored by others."""


class Runner:
    """Runs query files on a source's connections, and tells in the user's words what goes wrong."""

    def __init__(self, source: Single | Pooled, schema: SchemaCheck) -> None:
        self._source = source
        self._ended: str | None = None
        self.schema = schema

    def close(self) -> None:
        """Refuse everything from here on, and close what is our own."""
        self.end("this store was closed; make a new one")
        self._source.close()

    def end(self, why: str) -> None:
        """Refuse everything from here on."""
        self._ended = why

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """Give a connection; a pool's has a transaction of its own, which ends with the block."""
        connection = self._take()
        succeeded = False
        try:
            yield connection
            succeeded = True
        finally:
            self._source.give_back(connection, commit=succeeded)

    def run(self, query: Query, **parameters: Any) -> Any:
        """Run a query file, again where that is safe and helps."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._send(query, parameters)
            except psycopg.errors.UniqueViolation as error:
                # Someone else was storing the same message at this moment, and has committed: asked again,
                # the statement finds it, unless it was removed and stored once more in the meantime.
                # A transaction of the caller's has failed, and is the caller's.
                if attempt == _ATTEMPTS or self._source.in_transaction():
                    raise translate(error, query.name) from error
            except psycopg.Error as error:
                raise self.explain(error, query.name) from error

    def explain(self, error: psycopg.Error, query: str) -> DalError:
        """Translate a driver's error, with what the source knows."""
        return self._source.explain(error, query)

    def _send(self, query: Query, parameters: dict[str, Any]) -> Any:
        # As `connection` does, without its generator: bench/test_overhead.py shows what that would add.
        connection = self._take()
        succeeded = False
        try:
            if not self.schema.passed:
                self.schema.compare(queries.schema.version(connection))
            rows = query(connection, **parameters)
            succeeded = True
        finally:
            self._source.give_back(connection, commit=succeeded)
        return rows

    def _take(self) -> Connection[Any]:
        if self._ended is not None:
            raise StoreClosed(self._ended)
        return self._source.take()
