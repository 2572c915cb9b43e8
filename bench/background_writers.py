"""Writers in the background of a measurement."""

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
def writing(appends: Sequence[Callable[[], object]]) -> Iterator[None]:
    """Call each append in a loop, in a thread of its own, while the block runs."""
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


def beside_writers(
    timed: Timed, name: str, operation: Callable[[], object], appends: Sequence[Callable[[], object]]
) -> None:
    """Time an operation without writers and with them.

    No reader waits for a writer; the difference is the processor time that they share.
    """
    warm(operation)
    alone = statistics.median(timeit.repeat(operation, number=1, repeat=ROUNDS))
    timed.benchmark.group = f"{name} beside {len(appends)} writers"
    with writing(appends):
        timed.benchmark.pedantic(operation, rounds=ROUNDS)
    if timed.benchmark.stats is not None:  # Not with --benchmark-disable.
        table = timed.ledger.table("beside others who write: the median time, as a multiple of that without them")
        table.tell(name, f"with {len(appends)}", ratio(timed.benchmark.stats["median"], alone))
