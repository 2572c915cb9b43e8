"""The round trips of an operation, cold and warm.

A connection that sends a statement often enough prepares it, which is a round trip more, once; from then on
the statement's text is not sent again. psycopg does so with what it sends for the sixth time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dal.gate.measure.either import Connection, either, settled
from dal.gate.wire import Wire, watch


@dataclass(frozen=True, slots=True)
class Trips:
    """What went over the wire, at each of several times."""

    runs: tuple[Wire, ...]

    @property
    def cold(self) -> Wire:
        """The first time."""
        return self.runs[0]

    @property
    def warm(self) -> Wire:
        """The last time, with all that it sends prepared."""
        return self.runs[-1]

    @property
    def preparing(self) -> int:
        """The round trips that went into preparing, once for the connection."""
        return sum(wire.preparing for wire in self.runs)


@either
async def round_trips_of(connection: Connection, operation: Callable[[], object]) -> Trips:
    """Run an operation as often as it takes the connection to be warm, and watch it each time.

    It is really run, and nothing is rolled back: psycopg would forget what it has prepared. "Cold" is what the
    first of these times is, on a connection that has not run the operation before. Awaited over an AsyncConnection.
    """
    threshold = connection.prepare_threshold
    runs = []
    for _ in range((threshold or 0) + 2):
        with watch(connection) as wire:
            await settled(operation())
        runs.append(wire)
    return Trips(tuple(runs))
