"""The schema of the tables: its check before the first statement of a connection, and its application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import scalar_row

from dal._async.queries import async_queries
from dal.errors import StatementFailed
from dal.rows import SchemaFact
from dal.schema import distributed, drift
from dal.schema.check import SchemaCheck, require_server
from dal.sql import SCHEMA

if TYPE_CHECKING:
    from dal._async.runner import AsyncRunner


async def check(schema: SchemaCheck, connection: AsyncConnection[Any]) -> None:
    """Raise SchemaMismatch unless this release can use the server and the tables."""
    require_server(connection)
    await compare(schema, await async_queries.schema.check(connection), connection)


async def compare(schema: SchemaCheck, found: Sequence[SchemaFact], connection: AsyncConnection[Any]) -> None:
    """Compare the tables with this release's, and on a cluster read the ranges of the shards."""
    schema.compare(found, connection)
    if schema.distributed and schema.ranges is None:
        cursor = AsyncRawCursor(connection, row_factory=scalar_row)
        await cursor.execute(distributed.RANGES.read_bytes(), prepare=False)
        schema.ranges = await cursor.fetchall()


async def apply(runner: AsyncRunner) -> None:
    """Run schema.sql; only check tables of another version or layout, since this release may work with them."""
    try:
        async with _ready(runner) as connection:
            await connection.execute(SCHEMA.read_bytes(), prepare=False)
    except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.FeatureNotSupported) as error:
        try:
            await runner.check()
        except StatementFailed:  # The file failed the caller's transaction: report its error.
            raise await runner.explain(error, "schema.sql", sent=True) from error
    except psycopg.Error as error:
        raise await runner.explain(error, "schema.sql", sent=True) from error


async def apply_distributed(runner: AsyncRunner, shards: int, *, in_place: bool) -> None:
    """Create the tables, distribute them over the nodes of a Citus cluster, and create the functions."""
    try:
        async with _ready(runner) as connection:
            async with connection.transaction():
                found = await _facts(connection)
                is_new = not found or not (in_place or drift.is_distributed(found))
                settings = [str(shards), "on" if in_place else "off"]
                await AsyncRawCursor(connection).execute(distributed.SETTINGS.read_bytes(), settings)
                await connection.execute(distributed.script(with_tables=is_new), prepare=False)
            if connection.info.transaction_status == TransactionStatus.IDLE:
                await connection.execute(distributed.STATISTICS.read_bytes(), prepare=False)
                if in_place:
                    await connection.execute(distributed.FREE_SPACE.read_bytes(), prepare=False)
    except psycopg.Error as error:
        raise await runner.explain(error, "schema.sql", sent=True) from error


async def _facts(connection: AsyncConnection[Any]) -> list[SchemaFact]:
    """Return the facts about the tables; none if there are no tables."""
    try:
        async with connection.transaction():
            return await async_queries.schema.check(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return []


@asynccontextmanager
async def _ready(runner: AsyncRunner) -> AsyncIterator[AsyncConnection[Any]]:
    """Yield a connection that can run a file of many statements."""
    async with runner.connection() as connection:
        if connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise StatementFailed("schema.sql holds many statements, and a pipeline sends them one by one")
        yield connection
