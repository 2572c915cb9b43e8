"""The command line's connections."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from dal.conninfo import with_schema, with_timeout
from dal.driver_errors import translate
from dal.errors import DalError

_TIMEOUT = 10
"""Seconds to wait for a server."""

_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE")
"""libpq's variables that name a server or a database."""


@contextmanager
def connected(dsn: str | None, schema: str | None = None) -> Iterator[psycopg.Connection]:
    """Connect for a block.

    It is not a pool, which would go on trying instead of reporting an error.
    """
    checked = with_timeout(with_schema(_conninfo(dsn), schema), _TIMEOUT)
    try:
        connection = psycopg.connect(checked, autocommit=True)
    except psycopg.Error as error:
        raise translate(error, "connect") from error
    with connection:
        yield connection


def place(connection: psycopg.Connection, schema: str | None) -> str:
    """Return the database and the schema of a connection, without secrets."""
    where = f"database {connection.info.dbname} at {connection.info.host or 'localhost'}"
    return f"schema {schema} of {where}" if schema else f"the default schema of {where}"


def _conninfo(dsn: str | None) -> str:
    """Return a connection string, which is empty if libpq's variables name the database."""
    if dsn is not None:
        return dsn
    if any(os.environ.get(name) for name in _VARIABLES):
        return ""
    raise DalError(
        "which database? give --dsn, as in --dsn postgresql://user@host/database, or set DAL_DSN, "
        "or libpq's variables such as PGHOST and PGDATABASE"
    )
