"""Delete the idle half of a store while writers append, and compare the p99 of appends with and without that.

This does so in a schema that `python -m large` has filled:

    uv run python -m large.retention CONNINFO --schema large --load 50 100  # in the folder bench
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import aiosql
import psycopg
from arrivals import p99

from dal.cli import idle
from large import settle
from large.writers import Writers

_statements: Any = aiosql.from_path(Path(__file__).with_name("retention.sql"), "psycopg")

RATE, THREADS = 100, 8
"""Appends per second, and the number of connections that send them."""

STARTS = 1.5
"""Seconds that the command needs to start. They are not measured, since starting Python keeps a core busy."""


@dataclass(slots=True)
class Deletion:
    """The result of a deletion while writers append."""

    alone: list[float] = field(default_factory=list)
    """Durations of appends without the deletion, in seconds."""
    beside: list[float] = field(default_factory=list)
    """Durations of appends during the deletion."""
    seconds: float = 0
    """The duration of the deletion, without the pauses."""
    interruptions: int = 0
    messages: int = 0
    """The number of deleted messages, not counting the appends."""

    @property
    def p99_ratio(self) -> float:
        """Return the p99 of an append during the deletion, as a multiple of that without it."""
        return p99(self.beside) / p99(self.alone)

    @property
    def median_ratio(self) -> float:
        """Return the median of an append during the deletion, as a multiple of that without it."""
        return statistics.median(self.beside) / statistics.median(self.alone)


def delete_beside_writers(  # noqa: PLR0913 - options of the measurement
    conninfo: str,
    schema: str,
    *,
    seconds: float,
    rate: float = RATE,
    loads: Sequence[int] = (idle.LOAD,),
    rounds: int | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> dict[int, Deletion]:
    """Alternate pauses with runs of `dal delete-idle`, which is interrupted after the same time, until it is done.

    So other load on the machine affects the appends during the deletion as much as those without it. The runs have
    these loads in turn.
    """
    options = f"-c search_path={schema}"
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        middle, busy = busy_half(connection)
        command = [sys.executable, "-m", "dal.cli", "delete-idle", "--before", middle.isoformat(), "--yes"]
        command += ["--dsn", conninfo, "--schema", schema]
        writers = Writers(conninfo, options, busy, rate=rate, threads=THREADS)
        deletions, alone = {load: Deletion() for load in loads}, []
        beside: dict[int, list[tuple[float, float]]] = {load: [] for load in loads}
        try:
            _pause(2)  # Warm up: connect, and prepare the statements.
            left = _statements.idle_messages(connection, idle_since=middle)
            for load in islice(cycle(loads), rounds):
                alone.append(_pause(seconds))
                begun = time.perf_counter()
                done = _run([*command, "--load", str(load)], seconds)
                ended = time.perf_counter()
                started = begun + STARTS if ended - begun > 2 * STARTS else begun  # A small store is done at once.
                beside[load].append((started, ended))
                before, left = left, _statements.idle_messages(connection, idle_since=middle)
                deletion = deletions[load]
                deletion.messages += before - left
                deletion.interruptions += not done
                deletion.seconds += ended - started
                report(f"--load {load}: {before - left:,} messages deleted in {ended - started:.1f} s")
                if done:
                    break
        finally:
            writers.stop()
    for load, deletion in deletions.items():
        deletion.alone, deletion.beside = writers.during(alone), writers.during(beside[load])
    return deletions


def delete_long_beside_writers(  # noqa: PLR0913 - options of the measurement
    conninfo: str,
    schema: str,
    ways: Mapping[str, Callable[[psycopg.Connection[Any], str], object]],
    *,
    messages: int,
    rounds: int,
    seconds: float,
    rate: float = RATE,
) -> dict[str, Deletion]:
    """Store a session with many messages and delete it, once per round in each of several ways.

    Appends to other sessions are measured during the deletion, and for some seconds before and after it.
    """
    options = f"-c search_path={schema}"
    deletions = {way: Deletion() for way in ways}
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        _, busy = busy_half(connection)
        for n, way in enumerate([*ways] * rounds):
            _statements.store_long(connection, session_id=f"long{n}", messages=messages)
            settle(connection)
            writers = Writers(conninfo, options, busy, rate=rate, threads=THREADS)
            try:
                _pause(2)
                before, begun = _pause(seconds), time.perf_counter()
                ways[way](connection, f"long{n}")
                ended = time.perf_counter()
                after = _pause(seconds)
            finally:
                writers.stop()
            deletion = deletions[way]
            deletion.alone += writers.during([before, after])
            deletion.beside += writers.during([(begun, ended)])
            deletion.seconds += (ended - begun) / rounds
    return deletions


def busy_half(connection: psycopg.Connection[Any]) -> tuple[datetime, list[str]]:
    """Return the median time of the sessions' last activity, and the ids of those that were active since."""
    middle = _statements.middle(connection)
    return middle, [row[0] for row in _statements.busy_sessions(connection, idle_since=middle)]


def _pause(seconds: float) -> tuple[float, float]:
    begun = time.perf_counter()
    time.sleep(seconds)
    return begun, time.perf_counter()


def _run(command: Sequence[str], seconds: float) -> bool:
    """Run a command, and interrupt it after a time. Return whether it finished before that."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
        if process.returncode not in {128 + signal.SIGINT, -signal.SIGINT}:  # The latter if it was still starting.
            raise RuntimeError(f"{command} has another exit status than an interrupted command: {output}") from None
        return False
    if process.returncode:
        raise RuntimeError(f"{command}: {output}")
    return True


def main() -> None:
    """Delete the idle half of the schema that the options name, and print the durations of appends."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("conninfo", help="a test server")
    parser.add_argument("--schema", default="large", help="a schema that was filled (default: large)")
    parser.add_argument(
        "--seconds", type=float, default=10, help="between interruptions, and of each pause (default: 10)"
    )
    parser.add_argument("--load", type=int, nargs="+", default=[idle.LOAD], help="loads to compare, in percent")
    given = parser.parse_args()
    deletions = delete_beside_writers(
        given.conninfo, given.schema, seconds=given.seconds, loads=given.load, report=print
    )
    for load, deletion in deletions.items():
        print(
            f"--load {load}: {deletion.messages / deletion.seconds:,.0f} messages per second; an append took "
            f"{deletion.p99_ratio:.2f} times as long at p99, {deletion.median_ratio:.2f} times at the median "
            f"({len(deletion.alone):,} appends without the deletion, {len(deletion.beside):,} with it)"
        )


def reindex(connection: psycopg.Connection[Any]) -> None:
    """Rebuild the indexes of messages."""
    _statements.reindex(connection)


def sizes(connection: psycopg.Connection[Any]) -> dict[str, dict[str, int]]:
    """Return the bytes of each table's heap and indexes, and its number of dead rows."""
    return {
        name: {"heap": heap, "indexes": indexes, "dead rows": dead}
        for name, heap, indexes, dead in _statements.sizes(connection)
    }


if __name__ == "__main__":
    main()
