"""Open three sessions, one of which gets no message; stored with the first message, or when opened."""

from __future__ import annotations

from ulid import ULID


class Lazy:
    """A session is stored with its first message."""

    title = "ours"

    def __init__(self, variant_tables, connection):
        self.variant = variant_tables.variant("Ours", connection)
        self.append, self.inside = self.variant.append, self.variant.statements

    def open(self, session_id):
        self.variant.store.session(session_id)


class Eager:
    """A session's row is stored when it is opened; messages are stored as in append_variants/count.sql."""

    title = "stored when opened"

    def __init__(self, variant_tables, connection):
        self.variant = variant_tables.variant("Count", connection)
        self.append, self.inside = self.variant.append, self.variant.statements

    def open(self, session_id):
        self.variant.sql.open_session(self.variant.connection, session_id=session_id)


def open_three(variant, append):
    """Open three sessions, and append to two of them."""
    for has_message in (True, True, False):
        session_id = str(ULID())
        variant.open(session_id)
        if has_message:
            append(session_id)
