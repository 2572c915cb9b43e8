# Generated from dal/_async/schema.py by .ci/async_to_sync.py: change that file, and run it.
"""The schema of the tables: its check before the first statement of a connection, and its application."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection, RawCursor
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import scalar_row

from dal._sync.queries import queries
from dal.errors import StatementFailed
from dal.rows import SchemaFact
from dal.schema import distributed, drift
from dal.schema.check import SchemaCheck, require_server
from dal.sql import SCHEMA

if TYPE_CHECKING:
    from dal._sync.runner import Runner


def check(schema: SchemaCheck, connection: Connection[Any]) -> None:
    """Raise SchemaMismatch unless this release can use the server and the tables."""
    require_server(connection)
    compare(schema, queries.schema.check(connection), connection)


def compare(schema: SchemaCheck, found: Sequence[SchemaFact], connection: Connection[Any]) -> None:
    """Compare the tables with this release's, and on a cluster read the ranges of the shards."""
    schema.compare(found, connection)
    if schema.distributed and schema.ranges is None:
        cursor = RawCursor(connection, row_factory=scalar_row)
        cursor.execute(distributed.RANGES.read_bytes(), prepare=False)
        schema.ranges = cursor.fetchall()


def apply(runner: Runner) -> None:
    """Run schema.sql; only check tables of another version or layout, since this release may work with them."""
    try:
        with _ready(runner) as connection:
            connection.execute(SCHEMA.read_bytes(), prepare=False)
    except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.FeatureNotSupported) as error:
        try:
            runner.check()
        except StatementFailed:  # The file failed the caller's transaction: report its error.
            raise runner.explain(error, "schema.sql", sent=True) from error
    except psycopg.Error as error:
        raise runner.explain(error, "schema.sql", sent=True) from error


def apply_distributed(runner: Runner, shards: int, *, in_place: bool) -> None:
    """Create the tables, distribute them over the nodes of a Citus cluster, and create the functions."""
    try:
        with _ready(runner) as connection:
            with connection.transaction():
                found = _facts(connection)
                is_new = not found or not (in_place or drift.is_distributed(found))
                settings = [str(shards), "on" if in_place else "off"]
                RawCursor(connection).execute(distributed.SETTINGS.read_bytes(), settings)
                connection.execute(distributed.script(with_tables=is_new), prepare=False)
            if connection.info.transaction_status == TransactionStatus.IDLE:
                connection.execute(distributed.STATISTICS.read_bytes(), prepare=False)
                if in_place:
                    connection.execute(distributed.FREE_SPACE.read_bytes(), prepare=False)
    except psycopg.Error as error:
        raise runner.explain(error, "schema.sql", sent=True) from error


def _facts(connection: Connection[Any]) -> list[SchemaFact]:
    """Return the facts about the tables; none if there are no tables."""
    try:
        with connection.transaction():
            return queries.schema.check(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return []


@contextmanager
def _ready(runner: Runner) -> Iterator[Connection[Any]]:
    """Yield a connection that can run a file of many statements."""
    with runner.connection() as connection:
        if connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise StatementFailed("schema.sql holds many statements, and a pipeline sends them one by one")
        yield connection
