"""What an append of a layer costs on the wire, and what it takes beside another's."""

from __future__ import annotations

import math
import secrets
import statistics
import time
import uuid
from dataclasses import dataclass
from typing import Self

from layers import Append, Layer
from measures import WARM
from proxy import Traffic, passed_on

SIZES = (10, 1_000, 10_000)
"""How many messages there are in the sessions whose appends are timed."""

DURABLE = 1_000
"""And where each commit waits for the disk."""

COUNTED = 9
ROUNDS, SECONDS = 300, 10
"""How often an append is timed, unless that takes longer."""


@dataclass(frozen=True)
class Cost:
    """What goes over the wire for one append."""

    round_trips: int
    statements: int


@dataclass(frozen=True)
class Times:
    """The least that an append took, in seconds, which neighbours on the machine have disturbed the least."""

    ours: float
    took: float

    @property
    def ratio(self) -> float:
        """What it took as a multiple of ours."""
        return self.took / self.ours


def texts(count: int) -> list[str]:
    """Different messages of 200 characters that can hardly be compressed."""
    return [secrets.token_hex(100) for _ in range(count)]


async def filled(layer: Layer, size: int) -> str:
    """The id of a session of so many messages, all of which are there in their order."""
    session_id, messages = str(uuid.uuid4()), texts(size)
    await layer.fill(session_id, messages)
    if await layer.read(session_id) != messages:
        raise AssertionError("a session that one has filled is not read as it was written")
    return session_id


async def cost(kind: type[Layer], conninfo: str) -> Cost:
    """Count what one append takes, on connections that are open and have prepared what they prepare."""
    traffic = Traffic()
    with passed_on(conninfo, traffic=traffic) as counted:
        layer = kind()
        await layer.open(counted)
        try:
            append = await _warm(layer)
            seen = []
            for text in texts(COUNTED):
                before = traffic.round_trips, traffic.statements
                await append(text)
                seen.append((traffic.round_trips - before[0], traffic.statements - before[1]))
        finally:
            await layer.close()
    return Cost(*statistics.mode(seen))


async def _warm(layer: Layer) -> Append:
    """An append to a session, with connections that have prepared what they prepare."""
    append = await layer.begin(await filled(layer, 10))
    for text in texts(WARM):
        await append(text)
    return append


async def times(ours: Layer, layer: Layer, size: int) -> Times:
    """Time appends to sessions of that size, taking turns with ours, so that both meet the same neighbours.

    There are as many sessions as it needs for none to grow by more than a tenth.
    """
    each = max(1, size // 10)
    sides = [await _Side.of(one, size, math.ceil(ROUNDS / each)) for one in (ours, layer)]
    ends = time.monotonic() + SECONDS
    for turn in range(ROUNDS):
        if time.monotonic() > ends:
            break
        for side in sides:
            if turn % each == 0:
                await side.go_on()
            await side.time()
    return Times(*(min(side.seconds) for side in sides))


class _Side:
    """One of the two that take turns."""

    @classmethod
    async def of(cls, layer: Layer, size: int, sessions: int) -> Self:
        """A layer that is warm, and so many sessions that lack one message to that size."""
        await _warm(layer)
        self = cls()
        self.layer = layer
        self.sessions = [await filled(layer, size - 1) for _ in range(sessions)]
        self.seconds: list[float] = []
        return self

    async def go_on(self) -> None:
        """Take the next session. The first append of an object is not timed: it may do what is done once."""
        self.append = await self.layer.begin(self.sessions.pop())
        await self.append(*texts(1))

    async def time(self) -> None:
        """Time an append."""
        (text,) = texts(1)
        began = time.perf_counter()
        await self.append(text)
        self.seconds.append(time.perf_counter() - began)
