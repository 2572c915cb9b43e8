"""The size of the next batch."""

from __future__ import annotations

from collections import deque
from time import monotonic, process_time

WORTHWHILE = 16
"""A batch is not halved below this size: a smaller one takes nearly as long."""

_BUSY, _CYCLES = 0.4, 8
"""The server is far if this process was busy for less than that share of the time in each of the last cycles."""


class BatchSize:
    """Half of the calls if the server is near, all of them if it is far.

    Near the server, half of the callers prepare their next calls while the server stores the calls of the others, so
    both sides are always busy. If a reply takes longer than that preparation, waiting for two replies costs more than
    it gains. Let R be the delay of a reply, S the server's time and C the time in this process, for all calls. Two
    halves take S + 2 R or C, whichever is longer; one batch takes S + R + C. So half is better while R < C. Since S is
    about 0.6 C, this process is then busy for at least 0.4 of the time, with either size (bench/test_batching.py).
    """

    def __init__(self) -> None:
        self._busy = deque([1.0], _CYCLES)
        self._began = self._computed = 0.0

    def begin(self) -> None:
        """Begin a cycle."""
        self._began, self._computed = monotonic(), process_time()

    def end(self, calls: int) -> None:
        """End a cycle, which sent a batch of so many calls, and begin the next."""
        began, computed = self._began, self._computed
        self.begin()
        if calls >= WORTHWHILE and self._began > began:
            self._busy.append((self._computed - computed) / (self._began - began))

    @property
    def is_near(self) -> bool:
        """Whether callers prepare their calls for longer than a reply takes."""
        return max(self._busy) >= _BUSY

    def of(self, calls: int) -> int:
        """Return the size of the next batch, if so many calls are queued or expected."""
        return min(calls, max(WORTHWHILE, -(-calls // 2))) if self.is_near else calls
