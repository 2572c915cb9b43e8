"""Remember what a session object has written, so that its reads from a standby show it."""

from __future__ import annotations

import os
from threading import RLock

from dal.records import SessionRecord
from dal.rows import Position

_NOWHERE = Position(0, 0)

_lock = RLock()
"""Guards the fields of all objects, which threads may share; it is held for less than a microsecond."""


def _renew_lock() -> None:
    """Replace the lock in a child process, since another thread may have held it at the fork."""
    global _lock  # noqa: PLW0603 - there is one for the process
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class OwnWrites:
    """The position of a session that its reads must have reached."""

    __slots__ = ("_count", "least", "session_id", "unknown")

    def __init__(self, session_id: str, at_least: int | None) -> None:
        self.session_id = session_id
        self.least = _NOWHERE if at_least is None else Position(at_least + 1, 0)
        """The highest position that is known."""
        self.unknown = 0
        """Not 0 if the object has written something whose position is not known. It identifies that write."""
        self._count = 0

    @property
    def is_empty(self) -> bool:
        """True if reads may be as old as they like."""
        return self.least == _NOWHERE and not self.unknown

    def add_append(self, last: int) -> None:
        """Note an append, by the number of its last message."""
        with _lock:
            self.least = self.least.merged(Position(last + 1, 0))

    def add_change(self, outcome: object) -> None:
        """Note another change by what its statement returned: the session's record, or anything without a position."""
        with _lock:
            if isinstance(outcome, SessionRecord) and outcome.session_id == self.session_id:
                self.least = self.least.merged(Position(outcome.next_sequence, outcome.revision))
            else:
                self._count += 1
                self.unknown = self._count

    def learn(self, position: Position, unknown: int) -> None:
        """Note a position that the primary had after the write `unknown` and all before it."""
        with _lock:
            self.least = self.least.merged(position)
            if self.unknown == unknown:
                self.unknown = 0
