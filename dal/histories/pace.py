"""How much is read at once, where all is read."""

from __future__ import annotations

_FIRST, _MOST = 100, 1000
"""Messages that are asked for at first, and at most."""

_CHARACTERS = 2**20
"""How many are wanted at once: enough that the round trip does not matter, and little beside any memory."""


class Pace:
    """How many messages to ask for next, so that large ones do not fill the memory and small ones do not take long."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit = _FIRST

    def went(self, messages: int, characters: int) -> None:
        """Learn from what was read last."""
        each = max(1, characters // max(1, messages))
        self.limit = max(1, min(_MOST, 10 * self.limit, _CHARACTERS // each))
