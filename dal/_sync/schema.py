# Generated from dal/_async/schema.py by .ci/async_to_sync.py: change that file, and run it.
"""The schema of the tables: its check before the first statement of a connection, and its application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection
from psycopg.pq import PipelineStatus

from dal._sync.queries import queries
from dal.errors import StatementFailed
from dal.schema.check import SchemaCheck, require_server
from dal.sql import SCHEMA

if TYPE_CHECKING:
    from dal._sync.runner import Runner


def check(schema: SchemaCheck, connection: Connection[Any]) -> None:
    """Raise SchemaMismatch unless this release can use the server and the tables."""
    require_server(connection)
    schema.compare(queries.schema.check(connection), connection)


def apply(runner: Runner) -> None:
    """Run schema.sql; only check tables of another version, since this release may work with newer ones."""
    try:
        with runner.connection() as connection:
            if connection.pgconn.pipeline_status != PipelineStatus.OFF:
                raise StatementFailed("schema.sql holds many statements, and a pipeline sends them one by one")
            connection.execute(SCHEMA.read_bytes(), prepare=False)
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        try:
            runner.check()
        except StatementFailed:  # The file failed the caller's transaction: report its error.
            raise runner.explain(error, "schema.sql", sent=True) from error
    except psycopg.Error as error:
        raise runner.explain(error, "schema.sql", sent=True) from error
