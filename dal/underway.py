"""The batches that are on their way to the server, and whether another one pays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import monotonic

from dal.batches import Batch

WORTHWHILE = 16
"""How many calls are worth a batch of their own while more wait: fewer would take nearly as long as all."""

STATEMENT, MESSAGE = 0.00005, 0.00006
"""Seconds of processor time that a batch takes, and each of its messages, here and at the server, about."""

_PROBED = 128
"""Batches after which one goes alone, to see again what a reply takes when nothing else keeps the server."""


class Underway:
    """The batches that count as being on their way, at most so many.

    Another one pays while the work of those is less than what a reply takes beyond the work for it: then the server,
    or the line to it, would have nothing to do. Beside a server on the same machine that is one batch as soon as many
    go together; to one that is far away, more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: list[Batch] = []
        self.calls = 0
        """How many go in them."""
        self._work = 0.0
        """Seconds of work for them."""
        self._delays = deque([0.0], 8)
        """Seconds that the last replies took beyond the work, of batches that were alone on their way."""
        self._ended = 0
        """How many have come back since one of those."""

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(list(self._batches))

    def go(self, batch: Batch) -> None:
        """Count a batch, which is sent now."""
        batch.is_alone = not self._batches
        if not batch.is_alone:
            for other in self._batches:
                other.is_alone = False
        batch.is_counted = True
        batch.began = monotonic()
        self._batches.append(batch)
        self.calls += len(batch.calls)
        batch.work = STATEMENT + MESSAGE * sum([len(call.append.messages) for call in batch.calls])
        self._work += batch.work

    def count_no_more(self, batch: Batch) -> None:
        """Count a batch no more: it has ended, or takes long."""
        batch.is_counted = False
        self._batches.remove(batch)
        self.calls -= len(batch.calls)
        self._work -= batch.work

    def came_back(self, batch: Batch) -> None:
        """See what the reply took."""
        self._ended += 1
        if batch.is_alone:
            self._delays.append(monotonic() - batch.began - batch.work)
            self._ended = 0

    @property
    def has_room(self) -> bool:
        """Whether another one pays."""
        if not self._batches:
            return True
        return len(self._batches) < self._most and self._ended < _PROBED and self._work < self._delay

    def share(self, others: int, sessions: int) -> int:
        """How many go together, if all batches are to be alike, and those who are about to come are as many.

        Few go together, unless several batches pay.
        """
        present = self.calls + others
        share = max(WORTHWHILE, -(-present // 2))
        for batches in range(1, min(self._most, sessions)):
            if batches * (STATEMENT + MESSAGE * share) >= self._delay:
                break
            share = -(-present // (batches + 2))
        return share

    @property
    def _delay(self) -> float:
        return min(self._delays)
