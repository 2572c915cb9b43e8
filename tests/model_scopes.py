"""Scopes of the operations in tests/one_server/test_model.py, and helpers to compare their results."""

from dataclasses import replace

import psycopg
from model import Handle, Line, Stored, canonical
from psycopg.rows import args_row
from sides import unwrap

import dal

LOCK_TIMEOUT = "-c lock_timeout=5s"
"""Waiting for a lock is an error: the test has one thread, so the lock would never be released."""


def with_lock_timeout(options):
    return options | {"options": f"{options['options']} {LOCK_TIMEOUT}"}


MESSAGE_COLUMNS = "session_id, sequence, message_id, role, agent_id, content, metadata, created_at"
SESSION_COLUMNS = (
    "session_id, source, user_id, parent_id, status, next_sequence, message_count, agent_ids, metadata, "
    "created_at, updated_at, archived_at, revision, fork_point"
)


class CommittedRows:
    """Read the committed rows, without the library."""

    def __init__(self, conninfo, options):
        self.conninfo, self.options = conninfo, options
        self.connection = psycopg.connect(conninfo, **options)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.connection.close()

    def delete_all(self):
        self.connection.execute("DELETE FROM sessions")

    def rows(self):
        sessions = self.connection.cursor(row_factory=args_row(dal.SessionRecord))
        messages = self.connection.cursor(row_factory=args_row(dal.Message))
        sessions.execute(f"SELECT {SESSION_COLUMNS} FROM sessions WHERE status <> 'deleted'")
        messages.execute(f"SELECT {MESSAGE_COLUMNS} FROM messages ORDER BY session_id, sequence")
        rows = {record.session_id: (record, []) for record in sessions}
        for message in messages:
            rows[message.session_id][1].append(message)
        return rows


class Scope:
    """A store or a transaction, and the model of the rows visible in it."""

    def __init__(self, side, store, model, calls):
        self.side, self.store, self.model, self.calls = side, store, model, calls

    def call(self, owner, method, *args, **options):
        self.calls[f"{type(unwrap(owner)).__name__}.{method}"] += 1
        return getattr(owner, method)(*args, **options)

    def call_store(self, method, *args, **options):
        return self.call(self.store, method, *args, **options)

    def open(self, session_id=None, *, source=None, user_id=None, parent_id=None, metadata=None):
        opening = {"source": source, "user_id": user_id, "parent_id": parent_id}
        real = self.call_store("session", session_id, metadata=metadata, **opening)
        model = Handle(real.id, metadata=metadata or {}, may_be_stored=session_id is not None, **opening)
        return Opened(self, real, model)


class Opened:
    """A session object, its scope and its model."""

    def __init__(self, scope, real, model):
        self.scope, self.real, self.model = scope, real, model


class Rollback(Exception):
    pass


def outcome(operation):
    """Return the result of an operation and None, or None and the class of its error."""
    try:
        return operation(), None
    except dal.DalError as error:
        return None, type(error)


def comparable(value):
    """Return a result in a form that model and library share: without times."""
    match value:
        case dal.SessionRecord():
            counters = value.next_sequence, value.message_count
            return _session(value), counters, value.agent_ids
        case Stored():
            return _session(value), (value.next_sequence, len(value.lines)), value.cached
        case dal.Message() | Line():
            says = value.role, value.agent_id, value.content, canonical(value.metadata)
            return value.sequence, value.message_id, says
        case dal.Opened():
            return comparable((value.record, value.messages, value.agent_ids))
        case tuple() | list():
            return tuple(map(comparable, value))
    return value


def _session(value):
    origin = value.source, value.user_id, value.parent_id, value.fork_point
    return value.session_id, origin, value.status, canonical(value.metadata)


def with_id(new, stored, n=0):
    """Return a message with the id that it was stored with."""
    return new if new.message_id else replace(new, message_id=stored.message_id if stored else f"new {n}")
