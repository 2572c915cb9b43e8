"""Measure the queries of all query files. dal.gate.measure.judge compares the figures with the promises.

Each statement is prepared and run with the custom and with the generic plan, since a service may get either. A figure
is the lowest of several transactions that are rolled back, which excludes the noise of other connections. Each axis
has a scratch schema of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import psycopg

from dal.gate.errors import InvalidInput, SchemaRefused, ServerLost
from dal.gate.header.promises import LOCK_MODES
from dal.gate.measure import scratch
from dal.gate.measure.cost import Cost, Counters, counters_of
from dal.gate.measure.fixtures import FixtureCalls
from dal.gate.measure.judge import Outcome, judge
from dal.gate.measure.locking import locks_held, waits_for
from dal.gate.measure.measurement import STANDARD, STANDARD_SIZE, Activity, Measurement
from dal.gate.measure.neighbours import Neighbours
from dal.gate.measure.plans import executed_plans_of, plans_of
from dal.gate.measure.prepared import MODES, prepared
from dal.gate.measure.snapshot import Patience, held_snapshot
from dal.gate.measure.subjects import Fixtures, Subject
from dal.gate.measure.turn import Turns
from dal.gate.wire import watch

HELD_SIZES = (32, 128, 512)
"""The sizes of an axis under a held snapshot."""

_FEW = 8
"""A sequential scan of this many pages costs as much, for the planner, as an index lookup of two. So up to this many
pages or rows, a scan or a sort breaks no promise, except at the largest size."""


def sizes_up_to(largest: int) -> tuple[int, ...]:
    """Return five sizes from 64 to `largest`, each the same multiple of the one before."""
    if largest < 1024:  # noqa: PLR2004 - twice as much at each size
        raise InvalidInput("largest", f"must be 1,024 or more, so that growth shows; got {largest:,}")
    return tuple(round(64 * (largest / 64) ** (step / 4)) for step in range(5))


def sizes_along(fixtures: Fixtures, *, large: bool = False) -> Callable[[str], Sequence[int]]:
    """Return a function that returns the sizes of an axis, with `large` up to the largest that the fixtures support."""
    calls = FixtureCalls(fixtures)
    if large:
        calls.check_large()
    return lambda axis: sizes_up_to(calls.largest(axis) if large else calls.usual(axis))


class Gate:
    """Measures queries on a server, in one scratch schema at a time."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        schema: str,
        fixtures: Fixtures,
        *,
        sizes: Callable[[str], Sequence[int]] | None = None,
        begin: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Measure in a scratch schema.

        It must be the only schema on the search_path of the connections that `connect` opens. `schema` is the text of
        the schema file. `begin` receives a description of each step.
        """
        self._connect = connect
        self._schema = schema
        self._fixtures = FixtureCalls(fixtures)
        self._sizes = sizes or sizes_along(fixtures)
        self._begin = begin
        self._turn = count()
        self._patience = Patience()

    def steps(self, subjects: Sequence[Subject]) -> int:
        """Return the number of calls of `begin`: at each size, one for the data and one per query."""
        measured = [Measurement(subject) for subject in subjects]
        along = [axis for one in measured for axis in one.axes]
        held = [axis for one in measured for axis in one.held_axes]
        return sum(len(self._sizes_of(axis)) for axis in (*set(along), *along)) + len(HELD_SIZES) * len(
            [*set(held), *held]
        )

    def measure(self, subjects: Sequence[Subject]) -> list[Measurement]:
        """Measure every promise of these queries.

        If one seems broken, measure its query again, beside no other gate: a snapshot of another connection, such as
        that of autovacuum, may have kept old row versions for a moment.
        """
        with self._connect() as connection:
            neighbours = Neighbours(connection)
            with neighbours.beside():
                measured = self._measured(subjects)
            doubtful = [n for n, one in enumerate(measured) if _seems_broken(one)]
            if doubtful:
                self._begin(f"{len(doubtful)} of {len(measured)} queries again, beside no other gate")
                with neighbours.alone():
                    again = self._measured([subjects[n] for n in doubtful])
                for n, one in zip(doubtful, again, strict=True):
                    measured[n] = one
        return measured

    def _measured(self, subjects: Sequence[Subject]) -> list[Measurement]:
        measured = [Measurement(self._with_small_tables(subject)) for subject in subjects]
        for axis in dict.fromkeys(axis for one in measured for axis in one.axes):
            with self._fresh_tables() as connection:
                self._measure_axis(connection, axis, [one for one in measured if axis in one.axes])
        for axis in dict.fromkeys(axis for one in measured for axis in one.held_axes):
            with self._fresh_tables() as connection:
                self._measure_held(connection, axis, [one for one in measured if axis in one.held_axes])
        return measured

    def _with_small_tables(self, subject: Subject) -> Subject:
        """Return the query with the small tables in its promises."""
        small = self._fixtures.small_tables
        never = tuple(replace(one, small=small) for one in subject.promises.never)
        return replace(subject, promises=replace(subject.promises, never=never))

    def _check_small_tables(self, connection: psycopg.Connection[Any], axis: str, size: int) -> None:
        pages = scratch.pages(connection)
        for table in sorted(self._fixtures.small_tables):
            if table not in pages:
                raise InvalidInput("SMALL_TABLES", f"the schema has no table {table}")
            if pages[table] > _FEW:
                where = f"{pages[table]} pages at {size:,} in {axis}"
                raise InvalidInput(
                    "SMALL_TABLES", f"{table} is not small: it has {where}; at most {_FEW} pages are small"
                )

    def _sizes_of(self, axis: str) -> Sequence[int]:
        return (STANDARD_SIZE,) if axis == STANDARD else self._sizes(axis)

    def _measure_axis(self, connection: psycopg.Connection[Any], axis: str, measured: Sequence[Measurement]) -> None:
        sizes = self._sizes_of(axis)
        turns = Turns(connection)
        for before, size in zip((0, *sizes), sizes, strict=False):
            self._begin(f"{axis}: {size:,}")
            has_grown = self._grow(connection, axis, before, size, [one.subject for one in measured])
            for one in measured:
                self._begin(f"{axis}: {size:,}, {one.subject.name}")
                activity = one.activity_along(axis)
                if not (has_grown or self._has_other_parameters(one.subject, axis, before, size)):
                    activity.unchanged.append(size)
                with self._recording_failure(connection, one):
                    self._measure_size(turns, one, axis, size, is_last=size == sizes[-1])

    def _has_other_parameters(self, subject: Subject, axis: str, before: int, size: int) -> bool:
        """Return whether the parameters differ from those at the size before."""
        return before == 0 or self._fixtures.parameters(subject, axis, before, 0) != self._fixtures.parameters(
            subject, axis, size, 0
        )

    def _measure_size(self, turns: Turns, one: Measurement, axis: str, size: int, *, is_last: bool) -> None:
        if one.failure is not None:
            return
        connection = turns.connection
        for curves, costs in zip(
            (one.curves, one.repeated), self._costs(turns, one.subject, axis, size, one.activity[axis]), strict=False
        ):
            curves.setdefault(axis, {})[size] = costs
        few = _FEW if not is_last or axis == STANDARD else 0
        small = {table for table, pages in scratch.pages(connection).items() if pages <= few}
        explain = executed_plans_of if is_last else plans_of
        one.plans.setdefault(axis, {})[size] = explain(
            connection, one.subject.text, self._values(one.subject, axis, size), small=small, few=few
        )
        if size == self._sizes_of(axis)[0]:
            self._measure_waits(connection, one, axis, size)
        if is_last:
            self._measure_trips_and_locks(connection, one, axis, size)

    @contextmanager
    def _recording_failure(self, connection: psycopg.Connection[Any], one: Measurement) -> Iterator[None]:
        """Record the error of a query that fails, so that the others are still measured."""
        try:
            yield
        except psycopg.Error as error:
            if connection.closed:
                raise ServerLost(f"{one.subject}: the connection was lost: {error}") from error
            one.failure = error.diag.message_primary or str(error)

    def _measure_trips_and_locks(
        self, connection: psycopg.Connection[Any], one: Measurement, axis: str, size: int
    ) -> None:
        """Measure round trips and locks, once at the largest size."""
        one.tables = scratch.tables(connection)
        with connection.transaction(force_rollback=True):
            with watch(connection) as wire:
                one.subject.run(connection, self._values(one.subject, axis, size))
            one.note_locks(locks_held(connection, self._connect), axis, size)
        one.round_trips = max(one.round_trips, wire.round_trips)

    def _measure_waits(self, connection: psycopg.Connection[Any], one: Measurement, axis: str, size: int) -> None:
        """Find the row locks for which a call waits, if its header promises anything about waits."""
        if one.subject.promises.waits is not None:
            run = partial(one.subject.run, connection, self._values(one.subject, axis, size))
            one.waits |= waits_for(connection, self._connect, one.subject.promises.locks, run)

    def _measure_held(self, connection: psycopg.Connection[Any], axis: str, measured: Sequence[Measurement]) -> None:
        subjects = [one.subject for one in measured]
        self._grow(connection, axis, 0, 1, subjects)
        turns = Turns(connection)
        with held_snapshot(connection):
            for before, size in zip((1, *HELD_SIZES), HELD_SIZES, strict=False):
                self._begin(f"{axis}, under a held snapshot: {size:,}")
                counted = counters_of(connection)
                self._fixtures.grow(connection, axis, before, size, subjects)
                has_grown = _has_written(connection, counted)
                for one in measured:
                    self._begin(f"{axis}, under a held snapshot: {size:,}, {one.subject.name}")
                    activity = one.activity_along(axis, held=True)
                    if not has_grown:
                        activity.unchanged.append(size)
                    with self._recording_failure(connection, one):
                        if one.failure is None:
                            costs = self._costs(turns, one.subject, axis, size, activity)
                            one.held.setdefault(axis, {})[size] = costs[0]

    def _values(self, subject: Subject, axis: str, size: int) -> Mapping[str, Any]:
        return self._fixtures.parameters(subject, axis, size, next(self._turn))

    def _costs(self, turns: Turns, subject: Subject, axis: str, size: int, activity: Activity) -> list[dict[str, Cost]]:
        """Return the costs with both plans. Measure again if an update is not HOT.

        The data may have aged, or another connection's snapshot may have kept rolled-back versions, which fill pages.
        """
        costs = self._costs_now(turns, subject, axis, size, activity)
        if subject.promises.hot and min(cost.hot_share for cost in costs[0].values()) < 1:
            with turns.connection.transaction():
                self._fixtures.grow(turns.connection, axis, size, size, [subject])
            costs = self._costs_now(turns.after_vacuum(), subject, axis, size, activity)
        return costs

    def _costs_now(
        self, turns: Turns, subject: Subject, axis: str, size: int, activity: Activity
    ) -> list[dict[str, Cost]]:
        """Return the costs by plan: of the first call and, if it writes, of a second one with the same values."""
        times = 2 if set(subject.promises.locks.values()) - {LOCK_MODES[0]} else 1
        values = partial(self._values, subject, axis, size)
        with prepared(turns.connection, subject.text) as statement:
            returned = {mode: turns.returned(statement, mode, values) for mode in MODES}
            by_mode = {mode: turns.costs(statement, mode, values, times) for mode in MODES}
        activity.matched[size] = min(max(returned[mode], by_mode[mode][0].rows_written) for mode in MODES)
        fewest = min(map(len, by_mode.values()))
        return [{mode: costs[time] for mode, costs in by_mode.items()} for time in range(fewest)]

    def _grow(
        self, connection: psycopg.Connection[Any], axis: str, before: int, size: int, subjects: Sequence[Subject]
    ) -> bool:
        """Grow the data, and return whether any row was written."""
        counted = counters_of(connection)
        with connection.transaction():
            self._fixtures.grow(connection, axis, before, size, subjects)
        has_written = _has_written(connection, counted)
        self._patience.wait(connection)
        scratch.vacuum(connection)
        self._check_small_tables(connection, axis, size)
        return has_written

    @contextmanager
    def _fresh_tables(self) -> Iterator[psycopg.Connection[Any]]:
        """Create the schema with empty tables.

        It is not dropped here. An interrupted connection may still be busy, so dropping needs another one.
        """
        with self._connect() as connection:
            connection.prepare_threshold = None  # Required by `prepared`.
            scratch.drop(connection)
            scratch.create(connection)
            scratch.create_runner(connection)
            self._create_tables(connection)
            scratch.disable_autovacuum(connection)
            yield connection

    def _create_tables(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute(self._schema.encode(), prepare=False)
        except psycopg.Error as error:
            raise SchemaRefused(error.diag.message_primary or str(error)) from error


def _has_written(connection: psycopg.Connection[Any], before: Counters) -> bool:
    """Return whether rows of the scratch schema were written since."""
    return (counters_of(connection) - before).rows_written > 0


def _seems_broken(one: Measurement) -> bool:
    return any(verdict.outcome is Outcome.BROKEN for verdict in judge(one))
