"""The schema of the tables: its check before the first statement of a connection, and its application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import PipelineStatus

from dal._async.queries import async_queries
from dal.errors import StatementFailed
from dal.schema.check import SchemaCheck, require_server
from dal.sql import SCHEMA

if TYPE_CHECKING:
    from dal._async.runner import AsyncRunner


async def check(schema: SchemaCheck, connection: AsyncConnection[Any]) -> None:
    """Raise SchemaMismatch unless this release can use the server and the tables."""
    require_server(connection)
    schema.compare(await async_queries.schema.check(connection), connection)


async def apply(runner: AsyncRunner) -> None:
    """Run schema.sql; only check tables of another version, since this release may work with newer ones."""
    try:
        async with runner.connection() as connection:
            if connection.pgconn.pipeline_status != PipelineStatus.OFF:
                raise StatementFailed("schema.sql holds many statements, and a pipeline sends them one by one")
            await connection.execute(SCHEMA.read_bytes(), prepare=False)
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        try:
            await runner.check()
        except StatementFailed:  # The file failed the caller's transaction: report its error.
            raise await runner.explain(error, "schema.sql", sent=True) from error
    except psycopg.Error as error:
        raise await runner.explain(error, "schema.sql", sent=True) from error
