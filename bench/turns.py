"""What an append of a layer costs on the wire, and what it takes beside another's."""

from __future__ import annotations

import secrets
import statistics
import time
import uuid
from dataclasses import dataclass

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

    took: float
    ours: float

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
            await _warm(layer)
            append = await layer.begin(await filled(layer, 10))
            seen = []
            for text in texts(COUNTED):
                before = traffic.round_trips, traffic.statements
                await append(text)
                seen.append((traffic.round_trips - before[0], traffic.statements - before[1]))
        finally:
            await layer.close()
    return Cost(*statistics.mode(seen))


async def times(ours: Layer, layer: Layer, size: int) -> Times:
    """Time appends to sessions of that size, taking turns with ours, so that both meet the same neighbours."""
    await _warm(ours)
    await _warm(layer)
    seconds: dict[Layer, list[float]] = {ours: [], layer: []}
    ways = {one: await _appends(one, size) for one in seconds}
    ends = time.monotonic() + SECONDS
    for turn in range(ROUNDS):
        if time.monotonic() > ends:
            break
        for one, appends in ways.items():
            text = texts(1)
            began = time.perf_counter()
            await appends[turn](*text)
            seconds[one].append(time.perf_counter() - began)
    return Times(ours=min(seconds[ours]), took=min(seconds[layer]))


async def _warm(layer: Layer) -> None:
    append = await layer.begin(await filled(layer, 10))
    for text in texts(WARM):
        await append(text)


async def _appends(layer: Layer, size: int) -> list[Append]:
    """An append for each round, to as many sessions as it needs for none to grow by more than a tenth.

    The session's last message is from the same object: what that does once is no part of the times.
    """
    each = max(1, size // 10)
    appends: list[Append] = []
    while len(appends) < ROUNDS:
        append = await layer.begin(await filled(layer, size - 1))
        await append(*texts(1))
        appends += [append] * each
    return appends
