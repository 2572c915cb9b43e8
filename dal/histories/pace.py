"""How much is read at once, where all is read."""

from __future__ import annotations

_FIRST, _MOST = 100, 1000
"""Rows that are asked for at first, and at most."""

_SIZE = 2**20
"""Characters or bytes that are wanted at once: the round trip does not matter, and it is little beside any memory."""

_LARGEST = 16 * _SIZE
"""Bytes that may come at once nevertheless, where larger ones follow small ones."""


class Pace:
    """How many rows to ask for next, so that large ones do not fill the memory and small ones do not take long."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit = _FIRST

    @property
    def largest(self) -> int:
        """Bytes of the largest row that may be among so many."""
        return _LARGEST // self.limit

    def went(self, rows: int, size: int) -> None:
        """Learn from what was read last."""
        self.limit = max(1, min(_MOST, 10 * self.limit, _SIZE * rows // max(1, size)))
