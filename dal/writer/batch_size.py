"""How many of the waiting calls make the next batch."""

from __future__ import annotations

from collections import deque
from time import monotonic, process_time

WORTHWHILE = 16
"""The least calls worth leaving for the next batch: a smaller batch would take nearly as long as all of them."""

_BUSY, _CYCLES = 0.4, 8
"""A server is far when this process was busy for less than this share of so many cycles. One slow reply is chance."""


class BatchSize:
    """Half of the calls when the server is near, all of them when replies come late.

    Near the server, half of the callers prepare their next calls here while the server stores the other half: both are
    always busy. If a reply takes longer than that preparation, waiting for two replies costs more than it gains. With
    a delay R of each reply, server work S and work here C for all callers, two halves take S + 2 R or C, whichever is
    longer, and one batch of all takes S + R + C. So half is better while R < C, which is when this process is busy for
    at least 0.4 of the time, in either mode, as S is about 0.6 C (bench/test_batching.py).
    """

    def __init__(self) -> None:
        self._busy = deque([1.0], _CYCLES)
        self._began = self._computed = 0.0

    def begin(self) -> None:
        """Begin a cycle."""
        self._began, self._computed = monotonic(), process_time()

    def end(self, calls: int) -> None:
        """End a cycle, in which a batch of so many calls was sent and stored, and begin the next."""
        began, computed = self._began, self._computed
        self.begin()
        if calls >= WORTHWHILE and self._began > began:
            self._busy.append((self._computed - computed) / (self._began - began))

    @property
    def is_near(self) -> bool:
        """Whether callers need more time than a reply."""
        return max(self._busy) >= _BUSY

    def of(self, calls: int) -> int:
        """Return the size of the next batch, when so many calls wait or are about to be made again."""
        return min(calls, max(WORTHWHILE, -(-calls // 2))) if self.is_near else calls
