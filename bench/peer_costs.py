"""The cost of an append of a layer on the wire, and its time relative to ours."""

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
from proxy import Traffic, forward_through_proxy

SIZES = (10, 1_000, 10_000)
"""The numbers of messages in the sessions whose appends are timed."""

DURABLE = 1_000
"""The number of messages where each commit waits for the disk."""

COUNTED = 9
ROUNDS, SECONDS = 300, 10
"""The number of timed appends, and a limit in seconds."""


@dataclass(frozen=True)
class Cost:
    """The traffic of one append."""

    round_trips: int
    statements: int


@dataclass(frozen=True)
class Times:
    """The shortest times of an append in seconds, which other load has affected least."""

    ours: float
    took: float

    @property
    def ratio(self) -> float:
        """Return its time as a multiple of ours."""
        return self.took / self.ours


def texts(count: int) -> list[str]:
    """Return different messages of 200 characters that do not compress well."""
    return [secrets.token_hex(100) for _ in range(count)]


async def fill_session(layer: Layer, size: int) -> str:
    """Create a session with this number of messages, check that it reads correctly, and return its id."""
    session_id, messages = str(uuid.uuid4()), texts(size)
    await layer.fill(session_id, messages)
    if await layer.read(session_id) != messages:
        raise AssertionError("a session was not read as it was written")
    return session_id


async def cost(kind: type[Layer], conninfo: str) -> Cost:
    """Count the traffic of one append on open connections with prepared statements."""
    traffic = Traffic()
    with forward_through_proxy(conninfo, traffic=traffic) as counted:
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
    """Return an append to a session, after a warm-up."""
    append = await layer.begin(await fill_session(layer, 10))
    for text in texts(WARM):
        await append(text)
    return append


async def times(ours: Layer, layer: Layer, size: int) -> Times:
    """Time appends to sessions of that size, in turns with ours, so that other load affects both.

    There are enough sessions that none grows by more than a tenth.
    """
    each = max(1, size // 10)
    sides = [await _Side.of(one, size, math.ceil(ROUNDS / each)) for one in (ours, layer)]
    deadline = time.monotonic() + SECONDS
    for turn in range(ROUNDS):
        if time.monotonic() > deadline:
            break
        for side in sides:
            if turn % each == 0:
                await side.next_session()
            await side.time()
    return Times(*(min(side.seconds) for side in sides))


class _Side:
    """One of the two layers that take turns."""

    @classmethod
    async def of(cls, layer: Layer, size: int, sessions: int) -> Self:
        """Return a warm layer, with sessions of size - 1 messages."""
        await _warm(layer)
        self = cls()
        self.layer = layer
        self.sessions = [await fill_session(layer, size - 1) for _ in range(sessions)]
        self.seconds: list[float] = []
        return self

    async def next_session(self) -> None:
        """Switch to the next session. The first append is not timed, since it may include one-time work."""
        self.append = await self.layer.begin(self.sessions.pop())
        await self.append(*texts(1))

    async def time(self) -> None:
        """Time an append."""
        (text,) = texts(1)
        began = time.perf_counter()
        await self.append(text)
        self.seconds.append(time.perf_counter() - began)
