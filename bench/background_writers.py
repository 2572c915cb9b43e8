"""Concurrent writers during a measurement."""

from __future__ import annotations

import statistics
import threading
import timeit
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from measures import warm
from report import Timed, ratio

WRITERS = (1, 8)
ROUNDS = 50


@contextmanager
def background_writers(appends: Sequence[Callable[[], object]]) -> Iterator[None]:
    """Call each append in a loop, in its own thread, until the block ends."""
    done = threading.Event()

    def write(append: Callable[[], object]) -> None:
        while not done.is_set():
            append()

    with ThreadPoolExecutor(len(appends)) as threads:
        writers = [threads.submit(write, append) for append in appends]
        try:
            yield
        finally:
            done.set()
    for writer in writers:
        writer.result()


def time_with_writers(
    timed: Timed, name: str, operation: Callable[[], object], appends: Sequence[Callable[[], object]]
) -> None:
    """Time an operation with and without concurrent writers.

    No reader waits for a writer; the difference comes from sharing the CPU.
    """
    warm(operation)
    alone = statistics.median(timeit.repeat(operation, number=1, repeat=ROUNDS))
    timed.benchmark.group = f"{name} with {len(appends)} writers"
    with background_writers(appends):
        timed.benchmark.pedantic(operation, rounds=ROUNDS)
    if timed.benchmark.stats is not None:  # Not with --benchmark-disable.
        table = timed.ledger.table(
            "concurrent writers: median time of an operation, relative to the time without writers"
        )
        table.add(name, f"with {len(appends)}", ratio(timed.benchmark.stats["median"], alone))
