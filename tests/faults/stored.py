"""Everything that is stored in the sessions of a generation, as of one moment."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg import IsolationLevel
from psycopg.rows import namedtuple_row

from faults.calls import agent, content, key_of, redacted

SESSIONS = """
    SELECT session_id, status, next_sequence, message_count, revision, parent_id, fork_point, metadata
    FROM sessions WHERE starts_with(session_id, %s)
"""

CHANGES = """
    SELECT session_id, revision, kind, messages, first_sequence, last_sequence
    FROM changes WHERE starts_with(session_id, %s) ORDER BY session_id, revision
"""

MESSAGES = """
    SELECT session_id, sequence, message_id, agent_id, content, false AS is_removed, NULL::bigint AS removed_by
    FROM messages WHERE starts_with(session_id, %(prefix)s)
    UNION ALL
    SELECT r.session_id, r.sequence, r.message_id, r.agent_id, r.content, true, (
        SELECT min(c.revision) FROM changes AS c
        WHERE c.session_id = r.session_id AND c.changed_at = r.removed_at AND c.kind IN ('remove', 'replace')
            AND r.sequence BETWEEN c.first_sequence AND c.last_sequence
    )
    FROM removed_messages AS r WHERE starts_with(r.session_id, %(prefix)s)
"""
"""The messages and the removed messages; the latter with the revision of the change that removed them."""


class StoredMessage(NamedTuple):
    """A message, with the key of the call that sent it."""

    key: str
    message_id: str
    sequence: int
    removed_by: int | None
    is_original: bool
    """True unless it was redacted."""


@dataclass
class StoredSession:
    """A session, its messages and its recorded changes."""

    row: tuple
    messages: list = field(default_factory=list)
    removed: list = field(default_factory=list)
    changes: list = field(default_factory=list)

    @property
    def id(self):
        return self.row.session_id

    @property
    def is_fork(self):
        return self.row.fork_point is not None

    @property
    def everything(self):
        return [*self.messages, *self.removed]


def read(connection, generation):
    """Return the sessions by their id, and errors: messages that nobody sent, or that have no session."""
    strange, prefix = [], f"{generation}-"
    with snapshot(connection), connection.cursor(row_factory=namedtuple_row) as cursor:
        sessions = {row.session_id: StoredSession(row) for row in cursor.execute(SESSIONS, [prefix])}
        for row in cursor.execute(CHANGES, [prefix]):
            sessions[row.session_id].changes.append(row)
        # Row by row: fetching all rows at once would block the writers in this process, and delay their calls.
        for row in cursor.stream(MESSAGES, {"prefix": prefix}):
            key = key_of(row.content)
            is_original = row.content == content(key)
            if row.session_id not in sessions:
                strange.append(f"{row.session_id} {row.sequence}: a message without a session")
                continue
            if row.agent_id != agent(key) or not (is_original or row.content.startswith(redacted(key, ""))):
                strange.append(f"{row.session_id} {row.sequence}: stored, but nobody sent it: {row.content[:40]}")
            session = sessions[row.session_id]
            (session.removed if row.is_removed else session.messages).append(
                StoredMessage(key, row.message_id, row.sequence, row.removed_by, is_original)
            )
    return sessions, strange


@contextmanager
def snapshot(connection):
    connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    try:
        with connection.transaction():
            yield
    finally:
        connection.set_isolation_level(None)
