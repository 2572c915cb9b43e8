"""The scratch schema, and the maintenance of its tables. It is the only schema on the search_path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosql
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from dal.gate.measure.sync_or_async import Connection, resolve, sync_or_async

_HERE = Path(__file__).parent

_statements: Any = aiosql.from_path(_HERE, "psycopg", attribute=None)

_VACUUM, _ONE_ROW, _TRUNCATE = (
    sql.SQL((_HERE / f"{name}.template").read_text(encoding="utf-8")) for name in ("vacuum", "one_row", "truncate")
)


def create(connection: psycopg.Connection[Any]) -> None:
    """Create the schema that the search_path names."""
    _statements.create(connection)


def create_runner(connection: psycopg.Connection[Any]) -> None:
    """Create dal_run(), the function that runs prepared statements while they are measured."""
    _statements.create_runner(connection)


def drop(connection: psycopg.Connection[Any]) -> None:
    """Drop the schema that the search_path names, if `create` made it."""
    _statements.drop(connection)


def disable_autovacuum(connection: psycopg.Connection[Any]) -> None:
    """Disable autovacuum for the tables, and commit synchronously, so that a vacuum finds all that is committed."""
    _statements.disable_autovacuum(connection)


def pages(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return the number of pages of each table at its last vacuum."""
    return dict(_statements.pages(connection))


def tables(connection: psycopg.Connection[Any]) -> set[str]:
    """Return the names of the schema's tables."""
    return {name for (name,) in _statements.tables(connection)}


def empty_tables(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the names of the schema's tables that have no rows."""
    cursor = connection.cursor(row_factory=tuple_row)
    return [
        one for one in sorted(tables(connection)) if not cursor.execute(_ONE_ROW.format(sql.Identifier(one))).fetchall()
    ]


def truncate(connection: psycopg.Connection[Any], names: Sequence[str]) -> None:
    """Remove all rows of these tables."""
    connection.execute(_TRUNCATE.format(sql.SQL(", ").join(map(sql.Identifier, names))))


@sync_or_async
async def vacuum(connection: Connection) -> None:
    """Vacuum and analyze all tables of the first schema of the search_path."""
    await vacuum_tables(connection)


async def vacuum_tables(connection: Connection) -> None:
    """Vacuum and analyze the tables. Unlike `vacuum`, this is a coroutine function for both kinds of connections."""
    cursor: Any = connection.cursor(row_factory=tuple_row)
    await resolve(cursor.execute(_statements.tables.sql, prepare=False))
    names = [sql.Identifier(name) for (name,) in await resolve(cursor.fetchall())]
    if names:
        await resolve(cursor.execute(_VACUUM.format(sql.SQL(", ").join(names)), prepare=False))
