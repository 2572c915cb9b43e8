"""Three sessions are opened, and one of them never speaks: stored with the first message, or when opened."""

from __future__ import annotations

from ulid import ULID


class Lazy:
    """A session begins with its first message."""

    title = "ours"

    def __init__(self, field, connection):
        self.way = field.way("Ours", connection)
        self.append, self.inside = self.way.append, self.way.statements

    def open(self, session_id):
        self.way.store.session(session_id)


class Eager:
    """A session's row is stored as soon as it is opened; messages are stored as in ways/count.sql."""

    title = "stored when opened"

    def __init__(self, field, connection):
        self.way = field.way("Count", connection)
        self.append, self.inside = self.way.append, self.way.statements

    def open(self, session_id):
        self.way.sql.open_session(self.way.connection, session_id=session_id)


def three(way, append):
    """Open three sessions, and let two of them speak."""
    for speaks in (True, True, False):
        session_id = str(ULID())
        way.open(session_id)
        if speaks:
            append(session_id)
