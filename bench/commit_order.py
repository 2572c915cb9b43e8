"""What became of messages that many have appended to one session, by what a reader saw meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence


def lost(acknowledged: Collection[str], stored: Iterable[str]) -> set[str]:
    """Messages whose append returned, and which are not there at the end."""
    return set(acknowledged) - set(stored)


def duplicated(stored: Iterable[str]) -> int:
    """How many messages are there more often than they were appended, which is once."""
    return sum(times - 1 for times in Counter(stored).values())


def behind(reads: Iterable[Sequence[str]]) -> set[str]:
    """Messages that came to light before one that was read already: who read on from there has missed them."""
    seen: set[str] = set()
    found: set[str] = set()
    for read in reads:
        places = [place for place, message in enumerate(read) if message in seen]
        if places:
            found.update(set(read[: places[-1]]) - seen)
        seen.update(read)
    return found
