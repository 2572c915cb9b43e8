"""Find lost, duplicated and late messages of concurrent appends, from a reader's reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence


def lost(acknowledged: Collection[str], stored: Iterable[str]) -> set[str]:
    """Return the messages whose append returned, but which are missing at the end."""
    return set(acknowledged) - set(stored)


def duplicated(stored: Iterable[str]) -> int:
    """Return how many messages are stored more than once."""
    return sum(times - 1 for times in Counter(stored).values())


def late(reads: Iterable[Sequence[str]]) -> set[str]:
    """Return the messages that appeared before an already read one: a reader that continued from there missed them."""
    seen: set[str] = set()
    found: set[str] = set()
    for read in reads:
        positions = [position for position, message in enumerate(read) if message in seen]
        if positions:
            found.update(set(read[: positions[-1]]) - seen)
        seen.update(read)
    return found
