"""Count the round trips of an operation on a cold and a warm connection.

psycopg prepares a statement when it sends it for the sixth time. That costs one extra round trip; afterwards the text
is not sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dal.gate.measure.sync_or_async import Connection, resolve, sync_or_async
from dal.gate.wire import Wire, watch


@dataclass(frozen=True, slots=True)
class Trips:
    """The traffic of several runs."""

    runs: tuple[Wire, ...]

    @property
    def cold(self) -> Wire:
        """Return the first run."""
        return self.runs[0]

    @property
    def warm(self) -> Wire:
        """Return the last run, with all statements prepared."""
        return self.runs[-1]

    @property
    def preparing(self) -> int:
        """Return the number of round trips that only prepared statements."""
        return sum(wire.preparing for wire in self.runs)


@sync_or_async
async def round_trips_of(connection: Connection, operation: Callable[[], object]) -> Trips:
    """Run an operation until the connection is warm, and watch each run.

    Nothing is rolled back, since psycopg would forget its prepared statements. The first run is cold only if the
    connection has not run the operation before. With an AsyncConnection, await this function.
    """
    threshold = connection.prepare_threshold
    runs = []
    for _ in range((threshold or 0) + 2):
        with watch(connection) as wire:
            await resolve(operation())
        runs.append(wire)
    return Trips(tuple(runs))
