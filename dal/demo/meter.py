"""Measure several ways to do a task: rows and time while they take turns, round trips in a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import psycopg

from dal.gate.measure.cost import Counters, counters_of, flush_counters
from dal.gate.wire import watch

_WARM_UP = 10
"""Operations before the first measurement: psycopg prepares a statement after five executions."""

_SAMPLE = 20
"""Operations whose round trips are counted."""

REHEARSALS = _WARM_UP + _SAMPLE


@dataclass
class Way:
    """One way to do a task, and its figures: per operation, or in total if the name begins with `all_`."""

    label: str
    connection: psycopg.Connection
    operations: int
    operate: Callable[[int], object]
    """Run the n-th operation; from -REHEARSALS to -1, a rehearsal of the same kind on other data."""
    round_trips: float = 0.0
    all_read: int = 0
    all_written: int = 0
    all_seconds: float = 0.0

    @property
    def rows_read(self) -> float:
        """Rows and index entries that the server read."""
        return self.all_read / self.operations

    @property
    def rows_written(self) -> float:
        """Rows that the server inserted, updated or deleted."""
        return self.all_written / self.operations

    @property
    def seconds(self) -> float:
        """Seconds of an operation, as the client sees it."""
        return self.all_seconds / self.operations


def count_round_trips(way: Way) -> None:
    """Count round trips on the wire, after a warm-up. This is not timed, since counting takes time."""
    for n in range(-REHEARSALS, -_SAMPLE):
        way.operate(n)
    with watch(way.connection) as wire:
        for n in range(-_SAMPLE, 0):
            way.operate(n)
    way.round_trips = wire.round_trips / _SAMPLE


def take_turns(ways: tuple[Way, ...], turns: int, watcher: psycopg.Connection, done: Callable[[int], None]) -> None:
    """Run all operations of all ways in turns, so that a busy moment affects all of them."""
    for turn in range(turns):
        for way in ways:
            share = range(way.operations * turn // turns, way.operations * (turn + 1) // turns)
            before = _counters(way.connection, watcher)
            started = perf_counter()
            for n in share:
                way.operate(n)
            way.all_seconds += perf_counter() - started
            cost = _counters(way.connection, watcher) - before
            way.all_read += cost.rows_read
            way.all_written += cost.rows_written
            done(len(share))


def _counters(connection: psycopg.Connection, watcher: psycopg.Connection) -> Counters:
    """Read the server's counters, after the working connection has reported its own."""
    flush_counters(connection)
    connection.commit()
    return counters_of(watcher)
