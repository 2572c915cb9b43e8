# Generated from dal/_async/checking.py by .ci/async_to_sync.py: change that file, and run it.
"""Checking the tables that a connection leads to, before its first statement."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from dal._sync.queries import queries
from dal.schema.check import SchemaCheck, require_server


def check(schema: SchemaCheck, connection: Connection[Any]) -> None:
    """Raise SchemaMismatch unless this release can use the server and the tables."""
    require_server(connection)
    schema.compare(queries.schema.check(connection), connection)
