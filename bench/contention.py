"""Eight concurrent writers of one session, like the requests of a service, and a reader."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from commit_order import duplicated, late, lost
from layers import Layer
from peer_costs import fill_session, texts

WRITERS, EACH = 8, 50
PAUSE = 0.001
"""Seconds between two reads."""


@dataclass
class Contention:
    """The outcome of the appends."""

    acknowledged: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    reads: list[list[str]] = field(default_factory=list)
    """The reader's reads; the last one is after all writers have ended."""

    @property
    def lost(self) -> int:
        return len(lost(self.acknowledged, self.reads[-1]))

    @property
    def duplicated(self) -> int:
        return duplicated(self.reads[-1])

    @property
    def late(self) -> int:
        return len(late(self.reads))

    @property
    def read_count(self) -> int:
        """Return the number of reads while the writers wrote."""
        return len(self.reads) - 1


async def contend(layer: Layer) -> Contention:
    """Run the writers and the reader."""
    session_id, outcome, done = await fill_session(layer, 10), Contention(), threading.Event()
    writers = [_write(layer, session_id, texts(EACH), outcome) for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        reader = _run_concurrently(layer, threads, [_read(layer, session_id, outcome, done)])
        reading = asyncio.ensure_future(reader)
        try:
            await _run_concurrently(layer, threads, writers)
        finally:
            done.set()
            await reading
    outcome.reads.append(await layer.read(session_id))
    return outcome


async def _run_concurrently(layer: Layer, threads: ThreadPoolExecutor, coroutines: Sequence[Coroutine]) -> None:
    """Run coroutines concurrently, in tasks or in threads."""
    if layer.threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, asyncio.run, one) for one in coroutines))
    else:
        await asyncio.gather(*coroutines)


async def _write(layer: Layer, session_id: str, messages: Sequence[str], outcome: Contention) -> None:
    """Append each message in its own request."""
    for message in messages:
        try:
            append = await layer.begin(session_id)
            await append(message)
        except Exception as error:  # noqa: BLE001 - whatever a layer raises
            outcome.errors[type(error).__name__] += 1
        else:
            outcome.acknowledged.append(message)


async def _read(layer: Layer, session_id: str, outcome: Contention, done: threading.Event) -> None:
    while not done.is_set():
        outcome.reads.append(await layer.read(session_id))
        await asyncio.sleep(PAUSE)
