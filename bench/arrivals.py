"""Closed loops, in which a caller calls again when its last call has returned, and open ones with a fixed rate."""

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

RATES = (*((share, way) for share in SHARES for way in ("the other", "ours")), (BEYOND, "ours"))
"""Which way is measured at which rate of arrival."""


class Closed:
    """A closed loop: a call is due when a caller is free for it, for so many seconds."""

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
    """Draw when calls are due that arrive independently of each other, so many a second: an open loop.

    A call's time counts from then on, also while all callers are busy: no slow call keeps another from being counted.
    """
    due, moments = time.perf_counter(), []
    ends = due + seconds
    while (due := due + random.expovariate(rate)) < ends:
        moments.append(due)
    return iter(moments)


@dataclass
class Measured:
    """Seconds that calls took, by way."""

    closed: list[dict[str, list[float]]] = field(default_factory=list)
    """Of each round of a closed loop."""
    open: dict[tuple[float, str], list[float]] = field(default_factory=dict)
    """Of an open loop, by the rate as a share of the capacity too."""

    @property
    def capacity(self) -> float:
        """How many calls a second the other way does in a closed loop."""
        return statistics.median(len(one["the other"]) for one in self.closed[1:]) / SECONDS

    def beside(self, share: float, other_share: float | None = None) -> float:
        """The 99th percentile of ours in an open loop, as a multiple of the other way's."""
        other = self.open[share if other_share is None else other_share, "the other"]
        return p99(self.open[share, "ours"]) / p99(other)


Plan = Generator[tuple[str, Iterator[float]], list[float], Measured]
"""Yields which way is to take which calls, and is sent what those took."""


def plan(rates: tuple[tuple[float, str], ...]) -> Plan:
    """Let the ways take turns, so that both meet the same neighbours: in a closed loop, and then in open ones."""
    measured = Measured()
    for _ in range(ROUNDS):
        took = {}
        for way in ("the other", "ours"):
            took[way] = yield way, Closed(SECONDS)
        measured.closed.append(took)
    for share, way in rates * OPEN_ROUNDS:
        took = yield way, poisson(share * measured.capacity, OPEN_SECONDS)
        measured.open.setdefault((share, way), []).extend(took)
    return measured


def p99(took: list[float]) -> float:
    """The 99th percentile."""
    return sorted(took)[int(len(took) * 0.99)]
