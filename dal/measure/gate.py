"""The gate: measure every promise of every query file, and say which are kept.

Each statement is prepared, and run with the plan that is made for its values as with the generic one: a service
gets either. Figures are those of a transaction that is rolled back, the least of several turns, so that a neighbour
cannot add to them. The data of each axis is grown in a scratch schema of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from dal.errors import InvalidInput
from dal.measure import scratch
from dal.measure.cost import Cost, least_cost_of, locks_of
from dal.measure.growth import SLACK, TOLERANCE, accelerates, closest, fit
from dal.measure.plans import Plan, plans_of
from dal.measure.prepared import MODES, prepared
from dal.measure.promises import LOCK_MODES, METRICS, Bound, Growth, Never
from dal.measure.snapshot import held_snapshot
from dal.measure.subjects import Fixtures, Subject
from dal.wire import watch

HELD_SIZES = (32, 128, 512)
"""How far an axis grows under a held snapshot."""

_TURNS = 3

_LITTLE = 8
"""Pages that cost the planner as much, read one after the other, as the two in which an index finds a row. Over no
more pages than that, or rows, a scan or a sort is right; but not at the largest size, where nothing is little."""

_LOCKED = sql.SQL((Path(__file__).parent / "locked_rows.template").read_text(encoding="utf-8"))

Curve = dict[int, dict[str, Cost]]
"""By size, and custom or generic."""


def sizes_up_to(largest: int) -> tuple[int, ...]:
    """Sizes from 64 on, each the same multiple of the one before."""
    if largest < 1024:  # noqa: PLR2004 - twice as much at each size
        raise InvalidInput("largest", f"must be 1,024 or more, so that growth shows, not {largest:,}")
    return tuple(round(64 * (largest / 64) ** (step / 4)) for step in range(5))


LARGEST = 16_384
"""To what size all axes can be measured in some seconds."""


def default_sizes(_axis: str) -> Sequence[int]:
    """The sizes of which all axes can be measured in some seconds."""
    return sizes_up_to(LARGEST)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, what was measured, and whether it is kept."""

    query: str
    path: Path
    line: int
    promised: str
    measured: str
    kept: bool


@dataclass(slots=True)
class Measured:
    """All that was measured of one query."""

    subject: Subject
    curves: dict[str, Curve] = field(default_factory=dict)
    """By axis."""
    held: dict[str, Curve] = field(default_factory=dict)
    plans: dict[str, dict[int, dict[str, Plan]]] = field(default_factory=dict)
    """By axis, size, and custom or generic."""
    locks: dict[str, str] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)
    """How many rows of each table are locked against other writers, in all or for each, as promised."""
    round_trips: int = 0

    @property
    def axes(self) -> list[str]:
        """What the promises speak of, each once."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.bounds))

    @property
    def held_axes(self) -> list[str]:
        """What the promises under a held snapshot speak of, each once."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.held))


class Gate:
    """Measures queries on a server, in a scratch schema at a time."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        schema: str,
        fixtures: Fixtures,
        *,
        sizes: Callable[[str], Sequence[int]] = default_sizes,
        begin: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`connect` makes connections that see the scratch schema alone; `schema` is the text of schema.sql."""
        self._connect = connect
        self._schema = schema
        self._fixtures = fixtures
        self._sizes = sizes
        self._begin = begin
        self._turn = count()

    def steps(self, subjects: Sequence[Subject]) -> int:
        """How often `begin` will be called, for a progress bar: once to grow the data, and once for each query."""
        measured = [Measured(subject) for subject in subjects]
        along = [axis for one in measured for axis in one.axes]
        held = [axis for one in measured for axis in one.held_axes]
        return sum(len(self._sizes(axis)) for axis in (*set(along), *along)) + len(HELD_SIZES) * len(
            [*set(held), *held]
        )

    def measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        """Measure everything that these queries promise."""
        measured = [Measured(subject) for subject in subjects]
        for axis in dict.fromkeys(axis for one in measured for axis in one.axes):
            with self._tables() as connection:
                self._along(connection, axis, [one for one in measured if axis in one.axes])
        for axis in dict.fromkeys(axis for one in measured for axis in one.held_axes):
            with self._tables() as connection:
                self._under_a_snapshot(connection, axis, [one for one in measured if axis in one.held_axes])
        return measured

    def _along(self, connection: psycopg.Connection[Any], axis: str, measured: Sequence[Measured]) -> None:
        sizes = self._sizes(axis)
        for before, size in zip((0, *sizes), sizes, strict=False):
            self._begin(f"{axis}: {size:,}")
            self._grow(connection, axis, before, size)
            little = _LITTLE if size != sizes[-1] else 0
            small = {table for table, pages in scratch.pages(connection).items() if pages <= little}
            for one in measured:
                self._begin(f"{axis}: {size:,}, {one.subject.name}")
                one.curves.setdefault(axis, {})[size] = self._costs(connection, one.subject, axis, size)
                plans = plans_of(
                    connection, one.subject.text, self._values(one.subject, axis, size), small=small, few=little
                )
                one.plans.setdefault(axis, {})[size] = plans
        for one in measured:
            self._at_last(connection, one, axis, sizes[-1])

    def _at_last(self, connection: psycopg.Connection[Any], one: Measured, axis: str, size: int) -> None:
        """Measure what does not grow."""

        def run() -> None:
            one.subject.run(connection, self._values(one.subject, axis, size))

        one.locks = _strongest(one.locks, locks_of(connection, run))
        with connection.transaction(force_rollback=True):
            with watch(connection) as wire:
                run()
            for promised in one.subject.promises.rows:
                locked = self._locked_rows(promised.table) / (size if promised.each == axis else 1)
                one.rows[promised.table] = max(locked, one.rows.get(promised.table, 0))
        one.round_trips = max(one.round_trips, wire.round_trips)

    def _locked_rows(self, table: str) -> float:
        """Count the rows that another writer would have to wait for, now."""
        with self._connect() as other:
            return float(other.execute(_LOCKED.format(sql.Identifier(table))).fetchall()[0][0])

    def _under_a_snapshot(self, connection: psycopg.Connection[Any], axis: str, measured: Sequence[Measured]) -> None:
        self._grow(connection, axis, 0, 1)
        with held_snapshot(connection):
            for before, size in zip((1, *HELD_SIZES), HELD_SIZES, strict=False):
                self._begin(f"{axis}, under a held snapshot: {size:,}")
                self._fixtures.grow(connection, axis, before, size)
                for one in measured:
                    self._begin(f"{axis}, under a held snapshot: {size:,}, {one.subject.name}")
                    one.held.setdefault(axis, {})[size] = self._costs(connection, one.subject, axis, size)

    def _values(self, subject: Subject, axis: str, size: int) -> Mapping[str, Any]:
        return self._fixtures.parameters(subject.name, axis, size, next(self._turn))

    def _costs(self, connection: psycopg.Connection[Any], subject: Subject, axis: str, size: int) -> dict[str, Cost]:
        """What it costs with either plan; once more if an update is not HOT: data get old, as ours do by the hour."""
        costs = self._costs_now(connection, subject, axis, size)
        if subject.promises.hot and min(cost.hot_share for cost in costs.values()) < 1:
            with connection.transaction():
                self._fixtures.grow(connection, axis, size, size)
            costs = self._costs_now(connection, subject, axis, size)
        return costs

    def _costs_now(
        self, connection: psycopg.Connection[Any], subject: Subject, axis: str, size: int
    ) -> dict[str, Cost]:
        """What it costs, when the server has seen it before."""
        costs = {}
        with prepared(connection, subject.text) as statement:
            for mode in MODES:

                def run(mode: str = mode) -> None:
                    statement.run(mode, self._values(subject, axis, size))

                with connection.transaction(force_rollback=True):
                    run()
                costs[mode] = least_cost_of(connection, run, _TURNS)
        return costs

    def _grow(self, connection: psycopg.Connection[Any], axis: str, before: int, size: int) -> None:
        with connection.transaction():
            self._fixtures.grow(connection, axis, before, size)
        scratch.vacuum(connection)

    @contextmanager
    def _tables(self) -> Iterator[psycopg.Connection[Any]]:
        """Make the tables anew, in the schema that the connections see.

        Whoever made the gate drops the schema at the end, on a connection of its own: one that is interrupted
        may still be busy.
        """
        with self._connect() as connection:
            connection.prepare_threshold = None  # As `prepared` needs it.
            scratch.drop(connection)
            scratch.create(connection)
            connection.execute(self._schema.encode(), prepare=False)
            scratch.calm(connection)
            yield connection


def judge(measured: Measured) -> Iterator[Verdict]:
    """Hold what was measured against what was promised."""
    promises = measured.subject.promises

    def verdict(line: int, promised: str, found: str, *, kept: bool) -> Verdict:
        return Verdict(measured.subject.name, measured.subject.path, line, promised, found, kept)

    trips = measured.round_trips
    yield verdict(promises.line, in_trips(promises.round_trips), in_trips(trips), kept=trips <= promises.round_trips)
    for bound in promises.bounds:
        found, kept = _grown(bound, measured.curves[bound.axis])
        yield verdict(bound.line, str(bound), found, kept=kept)
    for bound in promises.held:
        found, kept = _grown(bound, measured.held[bound.axis])
        yield verdict(bound.line, f"held snapshot: {bound}", found, kept=kept)
    if promises.hot:
        costs = (cost for curve in measured.curves.values() for at in curve.values() for cost in at.values())
        share = min(cost.hot_share for cost in costs)
        yield verdict(promises.line, "HOT", f"{share:.0%} HOT", kept=share == 1)
    for rows in promises.rows:
        locked = measured.rows[rows.table]
        yield verdict(promises.locks_line, str(rows), f"{locked:,.6g} locked", kept=locked == rows.number)
    for table in sorted(promises.locks | measured.locks):
        promised, taken = promises.locks.get(table), measured.locks.get(table)
        kept = taken is None or (promised is not None and LOCK_MODES.index(taken) <= LOCK_MODES.index(promised))
        yield verdict(promises.locks_line, f"{promised or 'no lock'} on {table}", f"{taken or 'no lock'}", kept=kept)
    for never in promises.never:
        seen = list(_seen(never, measured.plans))
        yield verdict(never.line, f"never {never}", "; ".join(seen) or "never", kept=not seen)


def values_of(bound: Bound, curve: Curve) -> dict[str, dict[int, float]]:
    """What a bound is about, by plan and by size."""
    figure = METRICS[bound.metric]
    return {mode: {size: float(getattr(at[mode], figure)) for size, at in curve.items()} for mode in MODES}


def _grown(bound: Bound, curve: Curve) -> tuple[str, bool]:
    """How a figure has grown, and whether that is within its bound; with the plans that it is not within, if any."""
    values = values_of(bound, curve)
    broken = [mode for mode in MODES if not _within(bound, values[mode])]
    if not broken:
        return _told(max(values.values(), key=lambda one: sum(one.values()))), True
    return "; ".join(f"{_told(values[mode])} with the {mode} plan" for mode in broken), False


def _within(bound: Bound, values: dict[int, float]) -> bool:
    if fit(values).growth > bound.growth and closest(values, bound.growth).error > TOLERANCE:
        return False
    if bound.growth <= Growth.LOGARITHMIC and accelerates(values):
        return False
    least_of_all = min(values.values())
    return bound.divisor is None or all(
        value <= least_of_all + size / bound.divisor + SLACK for size, value in values.items()
    )


def _told(values: dict[int, float]) -> str:
    figures = ", ".join(f"{value:,.0f}" for value in values.values())
    return f"{fit(values).growth}: {figures} at {min(values):,} to {max(values):,}"


def _seen(never: Never, plans: dict[str, dict[int, dict[str, Plan]]]) -> Iterator[str]:
    """Where a node appears that never does."""
    for axis, sizes in plans.items():
        for mode in MODES:
            if at := [f"{size:,}" for size, of in sizes.items() if of[mode].breaks(never)]:
                yield f"{mode} plan at {', '.join(at)} in {axis}"


def _strongest(one: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    tables = one | other
    return {table: max(filter(None, (one.get(table), other.get(table))), key=LOCK_MODES.index) for table in tables}


def in_trips(number: int) -> str:
    """A number of round trips, in words."""
    return f"{number} round trip{'' if number == 1 else 's'}"
