"""Running an operation to see its cost and what it sends, at one size of the data or at several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dal.gate.measure.cost import Cost, least, whole_costs
from dal.gate.measure.either import Connection, settled
from dal.gate.measure.scratch import vacuumed
from dal.gate.wire import Wire, watch

SIZES = (16, 64, 256, 1024, 4096)

_TURNS = 4
"""The least of as many turns is taken, so that what comes and goes is not in it: a neighbour, a page that is split."""


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

    costs = await whole_costs(connection, watched, _TURNS, commit=commit)
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
        await vacuumed(connection)
        runs[size] = await run_of(connection, operation, commit=commit)
    return runs
