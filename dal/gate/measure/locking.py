"""Find the locks of a call on tables and rows, its advisory locks, and the locks for which it waits."""

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
_SOON = sql.SQL("SET LOCAL lock_timeout = 50")

_TRIED = LOCK_MODES[1 : LOCK_MODES.index("Exclusive")]
"""The table locks of transactions that may lock rows. A stronger one keeps other writers off the whole table."""


@dataclass(frozen=True, slots=True)
class RowLocks:
    """The locked rows of a table."""

    number: int
    """The number of rows for which another writer would wait. It does not wait for FOR KEY SHARE."""
    strength: str | None
    """The strongest row lock, one of ROW_LOCKS."""


@dataclass(frozen=True, slots=True)
class Locking:
    """The locks of a transaction."""

    tables: dict[str, str]
    """The strongest lock on each table. Tables of other schemas have qualified names."""
    rows: dict[str, RowLocks]
    advisory: int


def locks_held(connection: psycopg.Connection[Any], connect: Connect) -> Locking:
    """Return the locks of the current transaction. A second connection probes the rows."""
    connection.execute(statements.immediate.sql)
    tables = strongest(_rows(connection, statements.locks.sql))
    ((advisory,),) = _rows(connection, statements.advisory.sql)
    with connect() as other, other.transaction(force_rollback=True):
        rows = {table: _row_locks(other, table) for table, mode in tables.items() if mode in _TRIED}
    return Locking(tables, rows, advisory)


def waits_for(
    connection: psycopg.Connection[Any], connect: Connect, tables: Iterable[str], run: Callable[[], object]
) -> set[str]:
    """Return the tables in which a call waits for row locks of another transaction, of any strength."""
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
    """Hold a lock on all rows of a table during the block."""
    with connect() as holder, holder.transaction(force_rollback=True):
        holder.execute(_HOLD.format(_identifier(table), sql.SQL(lock)))
        yield


def _row_locks(other: psycopg.Connection[Any], table: str) -> RowLocks:
    (blocked,) = _rows(other, _LOCKED.format(_identifier(table)))
    # The stronger a lock, the weaker the locks that it conflicts with: FOR UPDATE conflicts with all of them, FOR KEY
    # SHARE only with FOR UPDATE. So the weakest conflicting lock identifies the lock that is held.
    strength = next((lock for lock, waiting in zip(reversed(ROW_LOCKS), blocked, strict=True) if waiting), None)
    return RowLocks(blocked[2], strength)


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split(".", 1))


def _rows(connection: psycopg.Connection[Any], statement: Any) -> list[tuple[Any, ...]]:
    return connection.cursor(row_factory=tuple_row).execute(statement, prepare=False).fetchall()
