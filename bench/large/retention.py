"""Delete the idle half of a store while writers append, and compare the p99 of appends with and without that."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosql
import psycopg
from arrivals import p99

from large import settle
from large.writers import Writers

_statements: Any = aiosql.from_path(Path(__file__).with_name("retention.sql"), "psycopg")

RATE, THREADS = 100, 8
"""Appends per second, and the number of connections that send them."""

STARTS = 1.5
"""Seconds that the command needs to start. They are not measured, since starting Python keeps a core busy."""


LONG = "long"
"""The id of the session that has been idle for the longest time."""


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

    @property
    def p99_ratio(self) -> float:
        """Return the p99 of an append during the deletion, as a multiple of that without it."""
        return p99(self.beside) / p99(self.alone)


def delete_beside_writers(  # noqa: PLR0913 - options of the measurement
    conninfo: str,
    schema: str,
    *,
    seconds: float,
    rate: float = RATE,
    arguments: Sequence[str] = (),
    rounds: int | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> Deletion:
    """Alternate pauses with runs of `dal delete-idle`, which is interrupted after the same time, until it is done.

    So other load on the machine affects the appends during the deletion as much as those without it.
    """
    options = f"-c search_path={schema}"
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        middle, busy = busy_half(connection)
    command = [sys.executable, "-m", "dal.cli", "delete-idle", "--before", middle.isoformat(), "--yes", *arguments]
    command += ["--dsn", conninfo, "--schema", schema]
    writers = Writers(conninfo, options, busy, rate=rate, threads=THREADS)
    deletion, alone, beside = Deletion(), [], []
    try:
        _pause(2)  # Warm up: connect, and prepare the statements.
        done = False
        while not done and (rounds is None or len(beside) < rounds):
            alone.append(_pause(seconds))
            begun = time.perf_counter()
            done = _run(command, seconds)
            ended = time.perf_counter()
            started = begun + STARTS if ended - begun > 2 * STARTS else begun  # A small store is done at once.
            beside.append((started, ended))
            deletion.interruptions += not done
            deletion.seconds += ended - started
            report(
                f"p99: {p99(writers.during(alone)):.4f} s alone, {p99(writers.during(beside)):.4f} s with the deletion"
            )
    finally:
        writers.stop()
    deletion.alone, deletion.beside = writers.during(alone), writers.during(beside)
    return deletion


def delete_long_beside_writers(  # noqa: PLR0913 - options of the measurement
    conninfo: str,
    schema: str,
    ways: Mapping[str, Callable[[psycopg.Connection[Any]], object]],
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
        for way in [way for _ in range(rounds) for way in ways]:
            _statements.store_long(connection, session_id=LONG, messages=messages)
            settle(connection)
            writers = Writers(conninfo, options, busy, rate=rate, threads=THREADS)
            try:
                _pause(2)
                before, begun = _pause(seconds), time.perf_counter()
                ways[way](connection)
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


def sizes(connection: psycopg.Connection[Any]) -> dict[str, dict[str, int]]:
    """Return the bytes of each table's heap and indexes, and its number of dead rows."""
    return {
        name: {"heap": heap, "indexes": indexes, "dead rows": dead}
        for name, heap, indexes, dead in _statements.sizes(connection)
    }
