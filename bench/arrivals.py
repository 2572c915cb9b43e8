"""Arrival patterns: closed loops, where a caller calls again after each return, and open loops with a fixed rate."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

ROUNDS, SECONDS = 5, 0.4
OPEN_ROUNDS, OPEN_SECONDS = 2, 0.5
SHARES = (0.5, 0.9)
"""Rates of arrival, as shares of the throughput of single appends in a closed loop."""

BEYOND = 3
"""A rate that single appends cannot keep up with."""

RATES = (*((share, target) for share in SHARES for target in ("the other", "ours")), (BEYOND, "ours"))
"""The rates of arrival, and the target measured at each."""


class Closed:
    """A closed loop: a call is due as soon as a caller is free, until the time is over."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.perf_counter() + seconds

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        now = time.perf_counter()
        if now >= self._ends:
            raise StopIteration
        return now


def poisson(rate: float, seconds: float) -> Iterator[float]:
    """Return the times at which calls are due in an open loop: a Poisson process with this rate per second.

    The latency of a call counts from its due time, also while all callers are busy: no coordinated omission.
    """
    due, moments = time.perf_counter(), []
    ends = due + seconds
    while (due := due + random.expovariate(rate)) < ends:
        moments.append(due)
    return iter(moments)


@dataclass
class Measured:
    """The durations of calls in seconds, by target."""

    closed: list[dict[str, list[float]]] = field(default_factory=list)
    """One item per round of a closed loop."""
    open: dict[tuple[float, str], list[float]] = field(default_factory=dict)
    """By rate, as a share of the capacity, and target of an open loop."""

    @property
    def capacity(self) -> float:
        """Return the throughput of the other target in a closed loop, in calls per second."""
        return statistics.median(len(one["the other"]) for one in self.closed[1:]) / SECONDS

    def p99_ratio(self, share: float, other_share: float | None = None) -> float:
        """Return the p99 of ours in an open loop, as a multiple of the other's."""
        other = self.open[share if other_share is None else other_share, "the other"]
        return p99(self.open[share, "ours"]) / p99(other)


Plan = Generator[tuple[str, Iterator[float]], list[float], Measured]
"""Yields a target and the due times of its calls; is sent their durations."""


def plan(rates: tuple[tuple[float, str], ...]) -> Plan:
    """Run both targets by turns, in a closed loop and then in open loops, so that other load affects both alike."""
    measured = Measured()
    for _ in range(ROUNDS):
        durations = {}
        for target in ("the other", "ours"):
            durations[target] = yield target, Closed(SECONDS)
        measured.closed.append(durations)
    for share, target in rates * OPEN_ROUNDS:
        durations = yield target, poisson(share * measured.capacity, OPEN_SECONDS)
        measured.open.setdefault((share, target), []).extend(durations)
    return measured


def p99(durations: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(durations)[int(len(durations) * 0.99)]
