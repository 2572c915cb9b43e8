"""Eight who append to one session at once, as a service's requests do, while a reader looks on."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from commit_order import behind, duplicated, lost
from layers import Layer
from turns import filled, texts

WRITERS, EACH = 8, 50
PAUSE = 0.001
"""Seconds between two looks of the reader."""


@dataclass
class Contention:
    """What became of the appends."""

    acknowledged: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    reads: list[list[str]] = field(default_factory=list)
    """What the reader saw; the last is what there was when all had ended."""

    @property
    def lost(self) -> int:
        return len(lost(self.acknowledged, self.reads[-1]))

    @property
    def duplicated(self) -> int:
        return duplicated(self.reads[-1])

    @property
    def behind(self) -> int:
        return len(behind(self.reads))

    @property
    def looks(self) -> int:
        """How often the reader looked."""
        return len(self.reads) - 1


async def contend(layer: Layer) -> Contention:
    """Let them write and read."""
    session_id, outcome, done = await filled(layer, 10), Contention(), threading.Event()
    writers = [_write(layer, session_id, texts(EACH), outcome) for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        reader = _at_once(layer, threads, [_look(layer, session_id, outcome, done)])
        reading = asyncio.ensure_future(reader)
        try:
            await _at_once(layer, threads, writers)
        finally:
            done.set()
            await reading
    outcome.reads.append(await layer.read(session_id))
    return outcome


async def _at_once(layer: Layer, threads: ThreadPoolExecutor, coroutines: Sequence[Coroutine]) -> None:
    """Run coroutines in tasks, or each in a thread."""
    if layer.threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, asyncio.run, one) for one in coroutines))
    else:
        await asyncio.gather(*coroutines)


async def _write(layer: Layer, session_id: str, messages: Sequence[str], outcome: Contention) -> None:
    """Append each message as a request of its own."""
    for message in messages:
        try:
            append = await layer.begin(session_id)
            await append(message)
        except Exception as error:  # noqa: BLE001 - whatever a layer raises
            outcome.errors[type(error).__name__] += 1
        else:
            outcome.acknowledged.append(message)


async def _look(layer: Layer, session_id: str, outcome: Contention, done: threading.Event) -> None:
    while not done.is_set():
        outcome.reads.append(await layer.read(session_id))
        await asyncio.sleep(PAUSE)
