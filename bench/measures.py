"""Machine-independent figures of one operation: round trips, statements and server-side costs."""

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
"""Calls until psycopg has prepared a statement (5) and the server has settled on a plan (5 more)."""

_READINGS = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one call of an operation."""

    round_trips: int
    statements: int
    cost: Cost


def nothing() -> None:
    """Do nothing, before or after an operation."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation to measure, on a connection with prepared statements; it is called several times."""

    inside: Callable[[], object]
    """Runs it in the caller's transaction."""
    whole: Callable[[], object] | None = None
    """Runs it in its own transaction, if it needs one."""
    before: Callable[[], object] = nothing
    after: Callable[[], object] = nothing
    """Cleans up after `inside`."""


def figures_of(connection: psycopg.Connection, operation: Operation) -> Figures:
    """Measure an operation, and commit it.

    After a rollback psycopg would prepare every statement again, and the figures would include what the planner reads.
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
    """Return the number of statements, including BEGIN and COMMIT."""
    return sum(message in {("F", "Query"), ("F", "Execute")} for message in wire.messages)


METRICS = {"buffers": "buffers", "rows": "rows_read", "WAL": "wal_records"}
"""The figures of a cost. WAL records, not bytes, since bytes depend on the other contents of a page."""


def number(figures: Figures, metric: str) -> int:
    """Return the value of a metric."""
    return getattr(figures.cost, METRICS[metric])


def classes(figures: Mapping[int, Figures], slack: float = SLACK) -> dict[str, Growth]:
    """Return the growth class of each metric over the sizes that were measured."""
    return {
        metric: fit({size: number(one, metric) for size, one in figures.items()}, slack).growth for metric in METRICS
    }


def gated(metric: str, growth: Growth) -> str:
    """Return the growth class for the baseline, which must be the same on every PostgreSQL and at every size.

    The height of an index varies, so O(1) and O(log n) count as one class of buffers. If a plan changes from a part of
    a table to a full scan, the fit may exceed O(n). promises_kept.py checks our own queries for the exact class.
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


class Reference:
    """A reference operation, timed before each round of another one, so that other load affects both.

    It runs in the setup of a benchmark, which is not timed.
    """

    def __init__(self, operation: Callable[[], object], rounds: int, before: Callable[[], object] = nothing) -> None:
        """`before` prepares each round of the other operation."""
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
        """Return the shortest time in seconds, which other load has affected least."""
        return min(self._seconds)
