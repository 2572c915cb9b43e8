"""How much is read at once, where all is read."""

from __future__ import annotations

_FIRST, _MOST = 100, 1000
"""Messages that are asked for at first, and at most."""

_SIZE = 2**20
"""Characters or bytes that are wanted at once: the round trip does not matter, and it is little beside any memory."""


class Pace:
    """How many messages to ask for next, so that large ones do not fill the memory and small ones do not take long."""

    __slots__ = ("limit", "sessions")

    def __init__(self) -> None:
        self.limit = self.sessions = _FIRST

    def went(self, messages: int, size: int, sessions: int = 0) -> None:
        """Learn from what was read last: from whole sessions too, of how many to look for the next so many messages."""
        lines = max(1, messages + sessions)
        self.limit = max(1, min(_MOST, 10 * self.limit, _SIZE * lines // max(1, size)))
        if sessions:
            self.sessions = min(self.limit, 10 * self.sessions, 1 + 2 * self.limit * sessions // lines)
