"""The gate: measure every promise of every query file, and say which are kept.

Figures are those of an operation in a transaction that is rolled back, the least of several turns, so that
a neighbour cannot add to them. The data of each axis is grown in a scratch schema of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiosql
import psycopg
from psycopg import sql

from dal.measure.cost import Cost, cost_of, least, locks_of
from dal.measure.growth import SLACK, TOLERANCE, Fit, accelerates, closest, fit
from dal.measure.plans import Plan, plans_of
from dal.measure.promises import LOCK_MODES, METRICS, Bound, Growth
from dal.measure.subjects import Fixtures, Subject
from dal.wire import watch

SIZES = (64, 256, 1024, 4096, 16_384)
HELD_SIZES = (32, 128, 512)
"""How many operations are done under a held snapshot before the one that is measured."""

_WARM_UP = 6
"""As often psycopg sends a statement before it is prepared, and the server plans it for its values."""

_WARM_AGAIN = 2
"""After the data has grown, and the plan was made anew."""

_TURNS = 3

_scratch: Any = aiosql.from_path(Path(__file__).parent / "scratch", "psycopg")

_LOCKED = sql.SQL((Path(__file__).parent / "locked_rows.template").read_text(encoding="utf-8"))

_VACUUM = sql.SQL("VACUUM (INDEX_CLEANUP ON, ANALYZE) {}")
"""With INDEX_CLEANUP, since what was rolled back leaves line pointers that would else fill a page after some sizes."""


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
    curves: dict[str, dict[int, Cost]] = field(default_factory=dict)
    """By axis and size."""
    held: dict[str, dict[int, Cost]] = field(default_factory=dict)
    plans: dict[str, dict[int, dict[str, Plan]]] = field(default_factory=dict)
    """By axis, size, and custom or generic."""
    locks: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows of each table are locked against other writers."""
    round_trips: int = 0

    @property
    def axes(self) -> list[str]:
        """What the promises speak of, each once."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.bounds))


class Gate:
    """Measures queries on a server, in a scratch schema at a time."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        schema: str,
        fixtures: Fixtures,
        *,
        sizes: Sequence[int] = SIZES,
        done: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`connect` makes connections that see the scratch schema alone; `schema` is the text of schema.sql."""
        self._connect = connect
        self._schema = schema
        self._fixtures = fixtures
        self._sizes = sizes
        self._done = done
        self._turn = count()

    @staticmethod
    def steps(subjects: Sequence[Subject], sizes: Sequence[int] = SIZES) -> int:
        """How often `done` will be called, for a progress bar."""
        axes = {bound.axis for subject in subjects for bound in subject.promises.bounds}
        held = [subject for subject in subjects if subject.promises.held]
        return len(axes) * len(sizes) + len(held) * len(HELD_SIZES)

    def measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        """Measure everything that these queries promise."""
        measured = [Measured(subject) for subject in subjects]
        for axis in dict.fromkeys(axis for one in measured for axis in one.axes):
            with self._tables() as connection:
                self._along(connection, axis, [one for one in measured if axis in one.axes])
        for one in measured:
            for bound in one.subject.promises.held:
                with self._tables() as connection:
                    self._under_a_snapshot(connection, one, bound.axis)
        return measured

    def _along(self, connection: psycopg.Connection[Any], axis: str, measured: Sequence[Measured]) -> None:
        for before, size in zip((0, *self._sizes), self._sizes, strict=False):
            self._grow(connection, axis, before, size)
            for one in measured:
                one.curves.setdefault(axis, {})[size] = self._cost(connection, one.subject, axis, size)
                values = self._fixtures.parameters(one.subject.name, axis, size, next(self._turn))
                one.plans.setdefault(axis, {})[size] = plans_of(connection, one.subject, values)
            self._done(f"{axis}: {size:,}")
        for one in measured:
            run = self._runner(connection, one.subject, axis, self._sizes[-1])
            one.locks = _strongest(one.locks, locks_of(connection, run))
            with connection.transaction(force_rollback=True):
                with watch(connection) as wire:
                    run()
                for table, rows in self._locked_rows(one.subject.promises.rows).items():
                    one.rows[table] = max(rows, one.rows.get(table, 0))
            one.round_trips = max(one.round_trips, wire.round_trips)

    def _locked_rows(self, tables: Iterable[str]) -> dict[str, int]:
        """Count the rows that another writer would have to wait for, now."""
        with self._connect() as other:
            return {table: other.execute(_LOCKED.format(sql.Identifier(table))).fetchall()[0][0] for table in tables}

    def _under_a_snapshot(self, connection: psycopg.Connection[Any], one: Measured, axis: str) -> None:
        self._grow(connection, axis, 0, 1)
        holder = self._connect()
        with holder:
            holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with holder.transaction():
                list(_scratch.tables(holder))  # Any statement takes the snapshot.
                for before, size in zip((0, *HELD_SIZES), HELD_SIZES, strict=False):
                    for _ in range(size - before):
                        self._runner(connection, one.subject, axis, size)()
                    one.held.setdefault(axis, {})[size] = self._cost(connection, one.subject, axis, size)
                    self._done(f"{one.subject.name} under a held snapshot: {size:,}")

    def _runner(
        self, connection: psycopg.Connection[Any], subject: Subject, axis: str, size: int
    ) -> Callable[[], None]:
        return lambda: subject.run(connection, self._fixtures.parameters(subject.name, axis, size, next(self._turn)))

    def _cost(self, connection: psycopg.Connection[Any], subject: Subject, axis: str, size: int) -> Cost:
        run = self._runner(connection, subject, axis, size)
        for _ in range(_WARM_UP if size == self._sizes[0] else _WARM_AGAIN):
            with connection.transaction(force_rollback=True):
                run()
        return least([cost_of(connection, run) for _ in range(_TURNS)])

    def _grow(self, connection: psycopg.Connection[Any], axis: str, before: int, size: int) -> None:
        with connection.transaction():
            self._fixtures.grow(connection, axis, before, size)
        tables = sql.SQL(", ").join(sql.Identifier(table) for (table,) in _scratch.tables(connection))
        connection.execute(_VACUUM.format(tables))

    @contextmanager
    def _tables(self) -> Iterator[psycopg.Connection[Any]]:
        """Make the tables anew, in the schema that the connections see.

        Whoever made the gate drops the schema at the end, on a connection of its own: one that is interrupted
        may still be busy.
        """
        with self._connect() as connection:
            drop(connection)
            _scratch.create(connection)
            connection.execute(self._schema.encode(), prepare=False)
            yield connection


def drop(connection: psycopg.Connection[Any]) -> None:
    """Drop the scratch schema, which is the connection's search_path."""
    _scratch.drop(connection)


def judge(measured: Measured) -> Iterator[Verdict]:
    """Hold what was measured against what was promised."""
    promises = measured.subject.promises

    def verdict(line: int, promised: str, found: str, *, kept: bool) -> Verdict:
        return Verdict(measured.subject.name, measured.subject.path, line, promised, found, kept)

    trips = measured.round_trips
    yield verdict(promises.line, in_trips(promises.round_trips), in_trips(trips), kept=trips <= promises.round_trips)
    for bound, curves in [(b, measured.curves) for b in promises.bounds] + [(b, measured.held) for b in promises.held]:
        values = {size: float(getattr(cost, METRICS[bound.metric])) for size, cost in curves[bound.axis].items()}
        fitted = fit(values)
        label = f"held snapshot: {bound}" if curves is measured.held else str(bound)
        yield verdict(bound.line, label, f"{fitted.growth}: {_curve(values)}", kept=_within(bound, fitted, values))
    if promises.hot:
        share = min(cost.hot_share for sizes in measured.curves.values() for cost in sizes.values())
        yield verdict(promises.line, "HOT", f"{share:.0%} HOT", kept=share == 1)
    for table, rows in promises.rows.items():
        locked = measured.rows[table]
        yield verdict(promises.locks_line, f"{in_rows(rows)} of {table} locked", in_rows(locked), kept=locked == rows)
    for table in sorted(promises.locks | measured.locks):
        promised, taken = promises.locks.get(table), measured.locks.get(table)
        kept = taken is None or (promised is not None and LOCK_MODES.index(taken) <= LOCK_MODES.index(promised))
        yield verdict(promises.locks_line, f"{promised or 'no lock'} on {table}", f"{taken or 'no lock'}", kept=kept)
    for never in promises.never:
        seen = sorted(
            {
                f"{mode} plan at {max(sizes):,} in {axis}"
                for axis, sizes in measured.plans.items()
                for mode, plan in sizes[max(sizes)].items()
                if plan.breaks(never)
            }
        )
        yield verdict(never.line, f"never {never}", "; ".join(seen) or "never", kept=not seen)


def _within(bound: Bound, fitted: Fit, values: dict[int, float]) -> bool:
    if fitted.growth > bound.growth and closest(values, bound.growth).error > TOLERANCE:
        return False
    if bound.growth <= Growth.LOGARITHMIC and accelerates(values):
        return False
    least_of_all = min(values.values())
    return bound.divisor is None or all(
        value <= least_of_all + size / bound.divisor + SLACK for size, value in values.items()
    )


def _strongest(one: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    tables = one | other
    return {table: max(filter(None, (one.get(table), other.get(table))), key=LOCK_MODES.index) for table in tables}


def in_rows(number: int) -> str:
    """A number of rows, in words."""
    return f"{number:,} row{'' if number == 1 else 's'}"


def in_trips(number: int) -> str:
    """A number of round trips, in words."""
    return f"{number} round trip{'' if number == 1 else 's'}"


def _curve(values: dict[int, float]) -> str:
    return ", ".join(f"{value:,.0f}" for value in values.values()) + f" at {min(values):,} to {max(values):,}"
