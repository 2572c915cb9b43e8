"""The figures of one operation that do not depend on the machine: what goes over the wire, what the server touches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg

from dal.gate.header.promises import Growth
from dal.gate.measure.cost import Cost, cost_of, least
from dal.gate.measure.growth import SLACK, fit
from dal.gate.wire import Wire, watch

WARM = 12
"""Calls until psycopg has prepared a statement (5) and the server has chosen its plan for good (5 more)."""

_READINGS = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """What one call of an operation takes."""

    round_trips: int
    statements: int
    cost: Cost


def nothing() -> None:
    """Do nothing: what there is to be done before and after an operation, where it is nothing."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What is measured, on a connection where its statements are prepared; it is run a few times."""

    inside: Callable[[], object]
    """Runs it in the transaction of whoever calls."""
    whole: Callable[[], object] | None = None
    """Runs it with a transaction of its own, if it needs one."""
    before: Callable[[], object] = nothing
    after: Callable[[], object] = nothing
    """Clears up after `inside`."""


def figures_of(connection: psycopg.Connection, operation: Operation) -> Figures:
    """Measure an operation. It is committed: after a rollback psycopg prepares every statement anew.

    (And then what the planner reads would be in the figures.)
    """
    costs = []
    for _ in range(_READINGS):
        operation.before()
        costs.append(cost_of(connection, operation.inside, commit=True))
        operation.after()
    operation.before()
    with watch(connection) as wire:
        (operation.whole or operation.inside)()
    return Figures(wire.round_trips, statements_of(wire), least(costs))


def statements_of(wire: Wire) -> int:
    """How many statements were run, BEGIN and COMMIT among them."""
    return sum(message in {("F", "Query"), ("F", "Execute")} for message in wire.messages)


METRICS = {"buffers": "buffers", "rows": "rows_read", "WAL": "wal_records"}
"""What is told of a cost. Records of WAL: their bytes move with what else is on a page."""


def number(figures: Figures, metric: str) -> int:
    """The number that a metric is."""
    return getattr(figures.cost, METRICS[metric])


def classes(figures: Mapping[int, Figures], slack: float = SLACK) -> dict[str, Growth]:
    """Return the growth class of each metric over the sizes that were measured."""
    return {
        metric: fit({size: number(one, metric) for size, one in figures.items()}, slack).growth for metric in METRICS
    }


def gated(metric: str, growth: Growth) -> str:
    """A class as the baseline has it, which must be the same on every PostgreSQL and at every size.

    An index's height comes and goes, so O(1) and O(log n) are one for buffers. And where a plan turns from a part of
    a table to all of it, a fit may see more than O(n); promises_kept.py holds our own promises to their
    very class.
    """
    if metric != "WAL" and growth >= Growth.LINEAR:
        return f"{Growth.LINEAR} or more"
    if metric == "buffers":
        return f"{Growth.LOGARITHMIC} or less"
    return str(growth)


def warm(operation: Callable[[], object]) -> None:
    """Call an operation until its statements are prepared."""
    for _ in range(WARM):
        operation()


class Beside:
    """An operation that is timed before each round of another, so that both meet the same neighbours on the machine.

    It is a benchmark's setup, which is no part of the time.
    """

    def __init__(self, operation: Callable[[], object], rounds: int, before: Callable[[], object] = nothing) -> None:
        """`before` is what the other operation needs to be done before each round of it."""
        self.rounds = rounds
        self._operation = operation
        self._before = before
        self._seconds: list[float] = []

    def __call__(self) -> None:
        started = time.perf_counter()
        self._operation()
        self._seconds.append(time.perf_counter() - started)
        self._before()

    @property
    def least(self) -> float:
        """The shortest time, in seconds, which neighbours have disturbed the least."""
        return min(self._seconds)
