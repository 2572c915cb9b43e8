"""Measure the cost and the traffic of an operation, at one size of the data or at several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dal.gate.measure.cost import Cost, costs_of, least
from dal.gate.measure.scratch import vacuum_tables
from dal.gate.measure.sync_or_async import Connection, resolve
from dal.gate.wire import Wire, watch

SIZES = (16, 64, 256, 1024, 4096)
"""The sizes that assert_growth uses by default."""

_TURNS = 4
"""The number of turns. The lowest figure of several excludes noise, such as other connections and page splits."""


@dataclass(frozen=True, slots=True)
class Run:
    """The cost and the traffic of an operation."""

    cost: Cost
    wire: Wire


async def run_of(connection: Connection, operation: Callable[[], object], *, commit: bool = False) -> Run:
    """Run an operation several times and return the lowest figures; roll back unless `commit` is true."""
    __tracebackhide__ = True
    wires: list[Wire] = []

    async def watched() -> None:
        __tracebackhide__ = True
        with watch(connection) as wire:
            await resolve(operation())
        wires.append(wire)

    costs = await costs_of(connection, watched, _TURNS, commit=commit)
    return Run(least(costs), min(wires, key=lambda wire: wire.round_trips))


async def runs_of(
    connection: Connection,
    grow: Callable[[int, int], object],
    operation: Callable[[], object],
    sizes: Sequence[int],
    *,
    commit: bool = False,
) -> dict[int, Run]:
    """Grow the data, and measure the operation at each size."""
    __tracebackhide__ = True
    runs = {}
    for before, size in zip((0, *sizes), sizes, strict=False):
        await resolve(grow(before, size))
        await vacuum_tables(connection)
        runs[size] = await run_of(connection, operation, commit=commit)
    return runs
