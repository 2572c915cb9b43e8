"""A scratch schema, which is alone on the search_path of whoever works in it, and the care of its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql
import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from dal.gate.measure.either import Connection, either, settled

_statements: Any = aiosql.from_path(Path(__file__).parent, "psycopg", attribute=None)

_VACUUM = sql.SQL("VACUUM (INDEX_CLEANUP ON, ANALYZE) {}")
"""As autovacuum would in time; without it a figure depends on when that came by. With INDEX_CLEANUP, since what
was rolled back leaves line pointers that would else fill a page after some sizes."""


def create(connection: psycopg.Connection[Any]) -> None:
    """Make the schema that the search_path names."""
    _statements.create(connection)


def runner(connection: psycopg.Connection[Any]) -> None:
    """Make dal_run(), the function inside which prepared statements are measured."""
    _statements.runner(connection)


def drop(connection: psycopg.Connection[Any]) -> None:
    """Drop the schema that the search_path names, if it was made here."""
    _statements.drop(connection)


def calm(connection: psycopg.Connection[Any]) -> None:
    """Let nothing but vacuum() look after the tables, and nothing on this connection wait for the disk."""
    _statements.calm(connection)


def pages(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """How many pages each table of the schema had when it was last vacuumed."""
    return dict(_statements.pages(connection))


def tables(connection: psycopg.Connection[Any]) -> set[str]:
    """Return the names of the schema's tables."""
    return {name for (name,) in _statements.tables(connection)}


@either
async def vacuum(connection: Connection) -> None:
    """Vacuum and analyze all tables of the first schema of the search_path."""
    await vacuumed(connection)


async def vacuumed(connection: Connection) -> None:
    """What vacuum does, for functions that are made for either kind of connection themselves."""
    cursor: Any = connection.cursor(row_factory=tuple_row)
    await settled(cursor.execute(_statements.tables.sql, prepare=False))
    names = [sql.Identifier(name) for (name,) in await settled(cursor.fetchall())]
    if names:
        await settled(cursor.execute(_VACUUM.format(sql.SQL(", ").join(names)), prepare=False))
