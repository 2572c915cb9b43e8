"""Checking the tables that a connection leads to, before its first statement."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from dal._async.queries import async_queries
from dal.schema.check import SchemaCheck, require_server


async def check(schema: SchemaCheck, connection: AsyncConnection[Any]) -> None:
    """Raise SchemaMismatch unless this release can use the server and the tables."""
    require_server(connection)
    schema.compare(await async_queries.schema.check(connection), connection)
