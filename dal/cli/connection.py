"""The command line's connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from dal.conninfo import with_schema, with_timeout
from dal.errors import translate

_TIMEOUT = 10
"""Seconds to wait for a server."""


@contextmanager
def connected(conninfo: str, schema: str | None = None, *, autocommit: bool = True) -> Iterator[psycopg.Connection]:
    """Connect for a block.

    It is not a pool, which would go on trying instead of reporting an error.
    """
    checked = with_timeout(with_schema(conninfo, schema), _TIMEOUT)
    try:
        connection = psycopg.connect(checked, autocommit=autocommit)
    except psycopg.Error as error:
        raise translate(error, "connect") from error
    with connection:
        yield connection


def place(connection: psycopg.Connection, schema: str | None) -> str:
    """Return the database and the schema of a connection, without secrets."""
    where = f"database {connection.info.dbname} at {connection.info.host or 'localhost'}"
    return f"schema {schema} of {where}" if schema else f"the default schema of {where}"
