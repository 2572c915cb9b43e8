"""Whom a call blocks, and whom it waits for: its locks on tables and rows, and its advisory locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from dal.gate.header.promises import LOCK_MODES, ROW_LOCKS
from dal.gate.measure.cost import strongest
from dal.gate.measure.sql import statements

Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]

_HERE = Path(__file__).parent
_LOCKED = sql.SQL((_HERE / "locked_rows.template").read_text(encoding="utf-8"))
_HOLD = sql.SQL((_HERE / "hold_rows.template").read_text(encoding="utf-8"))
_SOON = sql.SQL("SET LOCAL lock_timeout = 300")

_TRIED = LOCK_MODES[1 : LOCK_MODES.index("Exclusive")]
"""The locks on a table under which rows of it may be locked, but not all of it is."""


@dataclass(frozen=True, slots=True)
class RowLocks:
    """The locked rows of a table."""

    number: int
    """How many another writer would wait for; a lock FOR KEY SHARE lets it pass."""
    strength: str | None
    """The strongest lock on one of them; one of ROW_LOCKS."""


@dataclass(frozen=True, slots=True)
class Locking:
    """The locks that a transaction holds."""

    tables: dict[str, str]
    """The strongest on each table; a table of another schema has its name before it."""
    rows: dict[str, RowLocks]
    advisory: int


def locks_held(connection: psycopg.Connection[Any], connect: Connect) -> Locking:
    """Return the locks that a connection's transaction holds now; another connection tries the rows."""
    connection.execute(statements.immediate.sql)
    tables = strongest(_rows(connection, statements.locks.sql))
    ((advisory,),) = _rows(connection, statements.advisory.sql)
    with connect() as other, other.transaction(force_rollback=True):
        rows = {table: _row_locks(other, table) for table, mode in tables.items() if mode in _TRIED}
    return Locking(tables, rows, advisory)


def waits_for(
    connection: psycopg.Connection[Any], connect: Connect, tables: Iterable[str], run: Callable[[], object]
) -> set[str]:
    """Return the tables in which a call waits for rows that another transaction has locked, however weakly."""
    return {table for table in tables for lock in ROW_LOCKS if _waits(connection, connect, (table, lock), run)}


def _waits(
    connection: psycopg.Connection[Any], connect: Connect, held: tuple[str, str], run: Callable[[], object]
) -> bool:
    try:
        with _holding(connect, *held), connection.transaction(force_rollback=True):
            connection.execute(_SOON)
            run()
    except psycopg.errors.LockNotAvailable:
        return True
    return False


@contextmanager
def _holding(connect: Connect, table: str, lock: str) -> Iterator[None]:
    """Hold a lock on all rows of a table."""
    with connect() as holder, holder.transaction(force_rollback=True):
        holder.execute(_HOLD.format(_identifier(table), sql.SQL(lock)))
        yield


def _row_locks(other: psycopg.Connection[Any], table: str) -> RowLocks:
    (blocked,) = _rows(other, _LOCKED.format(_identifier(table)))
    # A lock keeps out all that are at least as strong as the strongest one that it lets pass: FOR UPDATE keeps out
    # even FOR KEY SHARE, the weakest, and FOR KEY SHARE keeps out FOR UPDATE alone.
    strength = next((lock for lock, waiting in zip(reversed(ROW_LOCKS), blocked, strict=True) if waiting), None)
    return RowLocks(blocked[2], strength)


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))


def _rows(connection: psycopg.Connection[Any], statement: Any) -> list[tuple[Any, ...]]:
    return connection.cursor(row_factory=tuple_row).execute(statement, prepare=False).fetchall()
