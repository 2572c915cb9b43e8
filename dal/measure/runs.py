"""Running an operation to see its cost and what it sends, at one size of the data or at several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosql
from psycopg import sql
from psycopg.rows import tuple_row

from dal.measure.cost import Cost, least, whole_cost
from dal.measure.either import Connection, settled
from dal.wire import Wire, watch

SIZES = (16, 64, 256, 1024, 4096)

_TURNS = 4
"""The least of as many turns is taken, so that what comes and goes is not in it: a neighbour, a page that is split."""

_scratch: Any = aiosql.from_path(Path(__file__).parent / "scratch", "psycopg", attribute=None)

_VACUUM = sql.SQL("VACUUM (INDEX_CLEANUP ON, ANALYZE) {}")
"""As autovacuum would in time; without it a figure depends on when that came by. With INDEX_CLEANUP, since what
was rolled back leaves line pointers that would else fill a page after some sizes."""


@dataclass(frozen=True, slots=True)
class Run:
    """The cost of an operation, and what went over the wire for it."""

    cost: Cost
    wire: Wire


async def run_of(connection: Connection, operation: Callable[[], object], *, commit: bool = False) -> Run:
    """Run an operation some times, each in a transaction that is rolled back unless asked; the least of each figure."""
    __tracebackhide__ = True
    wires: list[Wire] = []

    async def watched() -> None:
        __tracebackhide__ = True
        with watch(connection) as wire:
            await settled(operation())
        wires.append(wire)

    costs = [await whole_cost(connection, watched, commit=commit) for _ in range(_TURNS)]
    return Run(least(costs), min(wires, key=lambda wire: wire.round_trips))


async def runs_of(
    connection: Connection,
    grow: Callable[[int, int], object],
    operation: Callable[[], object],
    sizes: Sequence[int],
    *,
    commit: bool = False,
) -> dict[int, Run]:
    """Let the data grow, and run the operation at each size."""
    __tracebackhide__ = True
    runs = {}
    for before, size in zip((0, *sizes), sizes, strict=False):
        await settled(grow(before, size))
        await _vacuum(connection)
        runs[size] = await run_of(connection, operation, commit=commit)
    return runs


async def _vacuum(connection: Connection) -> None:
    cursor: Any = connection.cursor(row_factory=tuple_row)
    await settled(cursor.execute(_scratch.tables.sql, prepare=False))
    tables = [sql.Identifier(name) for (name,) in await settled(cursor.fetchall())]
    if tables:
        await settled(cursor.execute(_VACUUM.format(sql.SQL(", ").join(tables)), prepare=False))
