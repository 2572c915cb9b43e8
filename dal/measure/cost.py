"""What an operation costs the server, by the server's own counters.

EXPLAIN leaves out what triggers of foreign keys do; the counters have it. They are handed in at the end of a
transaction, so a cost is that of whole transactions; what neighbours do to the same tables is in it too, and
before PostgreSQL 18 all that the server's neighbours write to the WAL: take the least of several.

What is counted are the tables and indexes of the first schema of the search_path. The operation must use the
connection that is given. Over an AsyncConnection, each function here is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosql
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from dal.errors import InvalidInput
from dal.measure.either import Connection, either, entered, settled
from dal.measure.promises import LOCK_MODES

_statements: Any = aiosql.from_path(Path(__file__).parent / "sql", "psycopg", attribute=None)

_COUNTS_BACKENDS = 180000
"""The first PostgreSQL that counts a backend's own WAL."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What was touched and written; the same names on every version of PostgreSQL."""

    buffers_of: Mapping[str, int] = field(hash=False)
    """Shared buffers by table and index."""
    rows_read: int
    rows_written: int
    updates: int
    hot_updates: int
    wal_records: int
    wal_bytes: int
    temporary_bytes: int
    temporary_files: int = 0

    @property
    def buffers(self) -> int:
        """Shared buffers of all tables and indexes."""
        return sum(self.buffers_of.values())

    @property
    def hot_share(self) -> float:
        """Which share of the updates wrote to no index; 1 if nothing was updated."""
        return self.hot_updates / self.updates if self.updates else 1.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What the server has counted until a moment."""

    relations: Mapping[str, tuple[int, ...]]
    wal: tuple[int, ...]
    temporary: tuple[int, ...]

    def __sub__(self, before: Counters) -> Cost:
        """What was counted since."""
        nothing = (0, 0, 0, 0, 0)
        moved = {
            relation: tuple(
                now - then for now, then in zip(counts, before.relations.get(relation, nothing), strict=True)
            )
            for relation, counts in self.relations.items()
        }
        _, rows_read, rows_written, updates, hot_updates = map(sum, zip(nothing, *moved.values(), strict=True))
        wal_records, wal_bytes = (now - then for now, then in zip(self.wal, before.wal, strict=True))
        files, size = (now - then for now, then in zip(self.temporary, before.temporary, strict=True))
        return Cost(
            buffers_of={relation: counts[0] for relation, counts in sorted(moved.items()) if counts[0]},
            rows_read=rows_read,
            rows_written=rows_written,
            updates=updates,
            hot_updates=hot_updates,
            wal_records=wal_records,
            wal_bytes=wal_bytes,
            temporary_bytes=size,
            temporary_files=files,
        )


@either
async def cost_of(connection: Connection, operation: Callable[[], object], *, commit: bool = False) -> Cost:
    """Run an operation in a transaction of its own, which is rolled back unless asked, and return its cost.

    psycopg forgets what it has prepared when a transaction is rolled back: only with `commit` is an operation
    run as on a warm connection, where the server may have settled on a plan for all values.
    """
    __tracebackhide__ = True
    (cost,) = await whole_costs(connection, operation, 1, commit=commit)
    return cost


@either
async def least_cost_of(connection: Connection, operation: Callable[[], object], turns: int) -> Cost:
    """Run an operation some times as cost_of does, and return the least of each figure."""
    __tracebackhide__ = True
    return least(await whole_costs(connection, operation, turns, commit=False))


@either
async def counters_of(connection: Connection) -> Counters:
    """Read what the server has counted until now; what other connections do, once they have handed it in."""
    return await _counters(connection)


@either
async def hand_in(connection: Connection) -> None:
    """Let a connection hand its counts in when its transaction ends; it keeps them for up to a second."""
    await _rows(connection, "flush")


@either
async def locks_of(connection: Connection, operation: Callable[[], object]) -> dict[str, str]:
    """Run an operation in a transaction that is rolled back, and return the strongest lock on each table."""
    __tracebackhide__ = True
    async with entered(connection.transaction(force_rollback=True)):
        await settled(operation())
        held = await _rows(connection, "locks")
    tables = {table for table, _ in held}
    return {table: max((mode for name, mode in held if name == table), key=LOCK_MODES.index) for table in tables}


def most(costs: Collection[Cost]) -> Cost:
    """The most of each figure: what it costs with the worse plan."""
    first = max(costs, key=lambda cost: cost.buffers)
    worst = min(costs, key=lambda cost: cost.hot_share)
    return Cost(
        buffers_of=first.buffers_of,
        rows_read=max(cost.rows_read for cost in costs),
        rows_written=max(cost.rows_written for cost in costs),
        updates=worst.updates,
        hot_updates=worst.hot_updates,
        wal_records=max(cost.wal_records for cost in costs),
        wal_bytes=max(cost.wal_bytes for cost in costs),
        temporary_bytes=max(cost.temporary_bytes for cost in costs),
        temporary_files=max(cost.temporary_files for cost in costs),
    )


def least(costs: Collection[Cost]) -> Cost:
    """The least of each figure: what remains when neighbours are left out."""
    first = min(costs, key=lambda cost: cost.buffers)
    return Cost(
        buffers_of=first.buffers_of,
        rows_read=min(cost.rows_read for cost in costs),
        rows_written=min(cost.rows_written for cost in costs),
        updates=first.updates,
        hot_updates=first.hot_updates,
        wal_records=min(cost.wal_records for cost in costs),
        wal_bytes=min(cost.wal_bytes for cost in costs),
        temporary_bytes=min(cost.temporary_bytes for cost in costs),
        temporary_files=min(cost.temporary_files for cost in costs),
    )


async def whole_costs(
    connection: Connection, operation: Callable[[], object], turns: int, *, commit: bool
) -> list[Cost]:
    """What cost_of returns, some times, for functions that are made for either kind of connection themselves."""
    __tracebackhide__ = True
    _check(connection)
    costs = []
    before = await _counters(connection)
    for _ in range(turns):
        async with entered(connection.transaction(force_rollback=not commit)):
            await settled(operation())
        after = await _counters(connection)
        costs.append(after - before)
        before = after
    return costs


def _check(connection: Connection) -> None:
    if not connection.autocommit:
        raise InvalidInput("connection", "must be in autocommit to measure on it; connect with autocommit=True")
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise InvalidInput("connection", "is inside a transaction, and a cost is that of a whole one")


async def _counters(connection: Connection) -> Counters:
    await _rows(connection, "flush")
    own = connection.info.server_version >= _COUNTS_BACKENDS
    (wal,) = await _rows(connection, "wal_of_backend" if own else "wal")
    (temporary,) = await _rows(connection, "temporary")
    return Counters(
        relations={name: tuple(map(int, counts)) for name, *counts in await _rows(connection, "relations")},
        wal=tuple(map(int, wal)),
        temporary=tuple(map(int, temporary)),
    )


async def _rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """Run a query file, whatever rows the caller's connection makes and however it prepares."""
    cursor: Any = connection.cursor(row_factory=tuple_row)
    await settled(cursor.execute(getattr(_statements, query).sql, prepare=False))
    rows: list[tuple[Any, ...]] = await settled(cursor.fetchall())
    return rows
