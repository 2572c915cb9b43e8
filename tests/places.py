"""Where the operations of tests/one_server/test_model.py take place, and how what comes of them is compared."""

from dataclasses import replace

import psycopg
from model import Handle, Line, Stored, canonical
from psycopg.rows import args_row
from sides import unwrap

import dal

IMPATIENT = "-c lock_timeout=5s"
"""To wait for a lock is an error: all happens in one thread, so whoever holds it would never let it go."""


def impatient(options):
    return options | {"options": f"{options['options']} {IMPATIENT}"}


MESSAGE_COLUMNS = "session_id, sequence, message_id, role, agent_id, content, metadata, created_at"
SESSION_COLUMNS = (
    "session_id, source, user_id, parent_id, status, next_sequence, message_count, agent_ids, metadata, "
    "created_at, updated_at, archived_at"
)


class Look:
    """What is committed, past the library."""

    def __init__(self, conninfo, options):
        self.conninfo, self.options = conninfo, options
        self.connection = psycopg.connect(conninfo, **options)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.connection.close()

    def empty(self):
        self.connection.execute("DELETE FROM sessions")

    def rows(self):
        sessions = self.connection.cursor(row_factory=args_row(dal.SessionRecord))
        messages = self.connection.cursor(row_factory=args_row(dal.Message))
        sessions.execute(f"SELECT {SESSION_COLUMNS} FROM sessions")
        messages.execute(f"SELECT {MESSAGE_COLUMNS} FROM messages ORDER BY session_id, sequence")
        rows = {record.session_id: (record, []) for record in sessions}
        for message in messages:
            rows[message.session_id][1].append(message)
        return rows


class Place:
    """Where an operation takes place: a store, or a transaction of one; with the model of what is seen there."""

    def __init__(self, side, store, model, calls):
        self.side, self.store, self.model, self.calls = side, store, model, calls

    def call(self, owner, verb, *args, **options):
        self.calls[f"{type(unwrap(owner)).__name__}.{verb}"] += 1
        return getattr(owner, verb)(*args, **options)

    def do(self, verb, *args, **options):
        return self.call(self.store, verb, *args, **options)

    def open(self, session_id=None, *, source=None, user_id=None, parent_id=None, metadata=None):
        opening = {"source": source, "user_id": user_id, "parent_id": parent_id}
        real = self.do("session", session_id, metadata=metadata, **opening)
        model = Handle(real.id, metadata=metadata or {}, may_be_stored=session_id is not None, **opening)
        return Opened(self, real, model)


class Opened:
    """A handle, and its model."""

    def __init__(self, place, real, model):
        self.place, self.real, self.model = place, real, model


class Rollback(Exception):
    pass


def outcome(operation):
    """What an operation returned, or the kind of its refusal."""
    try:
        return operation(), None
    except dal.DalError as error:
        return None, type(error)


def plain(value):
    """A result as the model and the library have it in common: without times."""
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
            return plain((value.record, value.messages, value.agent_ids))
        case tuple() | list():
            return tuple(map(plain, value))
    return value


def _session(value):
    return value.session_id, value.source, value.user_id, value.parent_id, value.status, canonical(value.metadata)


def named(new, said, n=0):
    """A message with the id that it got."""
    return new if new.message_id else replace(new, message_id=said.message_id if said else f"new {n}")
