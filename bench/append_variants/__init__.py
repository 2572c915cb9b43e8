"""The ways in which the field appends a message to a session, and ours, behind one protocol.

Each has tables of its own, and is given the same chances: one connection, prepared statements, the same message,
and no statement that the way does not need. Its .sql file says who does it so.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, ClassVar

import aiosql
import psycopg
from psycopg.types.json import Jsonb
from ulid import ULID

import dal

ROLE, AGENT = "assistant", "agent-1"

_FOLDER = Path(__file__).parent


def content() -> str:
    """What a message says: 200 characters that compress as little as those that the tables are filled with."""
    return secrets.token_hex(100)


class Way:
    """One way to append, on a connection in autocommit mode."""

    title: ClassVar[str]
    """What the report calls it."""
    file: ClassVar[str]
    transactional: ClassVar[bool] = False
    """Whether an append is several statements that belong together."""
    rounds: ClassVar[int] = 200
    """How often an append is timed: a short one must not fall into one slice of a busy processor's time."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.sql: Any = aiosql.from_path(_FOLDER / f"{self.file}.sql", "psycopg")

    def prepare(self) -> None:
        """Make the tables."""
        self.sql.prepare(self.connection)

    def fill(self, session_id: str, size: int) -> None:
        """Store a session of so many messages, which is not there yet; the server makes them up."""
        self.sql.fill(self.connection, session_id=session_id, size=size)

    def settle(self) -> None:
        """Vacuum and analyze, so that plans and costs do not hang on what autovacuum did when."""
        self.sql.settle(self.connection)

    def stored(self, session_id: str) -> tuple[int, int]:
        """How many messages a session holds, and how many of them have another's number."""
        return self.sql.stored(self.connection, session_id=session_id)

    def statements(self, session_id: str) -> None:
        """Append a message, in whatever transaction there is."""
        raise NotImplementedError

    def ended(self) -> None:
        """Let go of what a call of `statements` has left, after its transaction."""

    def append(self, session_id: str) -> None:
        """Append a message, and commit."""
        if self.transactional:
            with self.connection.transaction():
                self.statements(session_id)
        else:
            self.statements(session_id)


class Ours(Way):
    title = "ours"
    file = "ours"

    def __init__(self, connection):
        super().__init__(connection)
        self.store = dal.SessionStore(connection)

    def prepare(self):
        self.store.apply_schema()

    def statements(self, session_id):
        self.store.session(session_id).append(ROLE, content(), agent_id=AGENT)


class Count(Way):
    title = "get, COUNT, INSERT, UPDATE"
    file = "count"
    transactional = True

    def statements(self, session_id):
        self.sql.select_session(self.connection, session_id=session_id)
        (messages,) = self.sql.count_messages(self.connection, session_id=session_id)
        self.sql.insert_message(
            self.connection,
            message_id=str(ULID()),
            session_id=session_id,
            sequence=messages,
            role=ROLE,
            agent_id=AGENT,
            content=content(),
        )
        self.sql.update_session(self.connection, session_id=session_id, messages=messages + 1)


class Max(Way):
    title = "MAX + 1"
    file = "max"
    transactional = True

    def statements(self, session_id):
        (sequence,) = self.sql.next_sequence(self.connection, session_id=session_id)
        self.sql.insert_message(
            self.connection,
            session_id=session_id,
            sequence=sequence,
            message_id=str(ULID()),
            role=ROLE,
            agent_id=AGENT,
            content=content(),
        )


class InsertMax(Way):
    title = "INSERT … SELECT MAX + 1"
    file = "insert_max"

    def statements(self, session_id):
        self.sql.append(
            self.connection,
            session_id=session_id,
            message_id=str(ULID()),
            role=ROLE,
            agent_id=AGENT,
            content=content(),
        )


class Identity(Way):
    title = "identity column"
    file = "identity"
    transactional = True

    def statements(self, session_id):
        self.sql.select_session(self.connection, session_id=session_id)
        self.sql.insert_message(self.connection, session_id=session_id, role=ROLE, agent_id=AGENT, content=content())
        self.sql.update_session(self.connection, session_id=session_id)


class JsonbArray(Way):
    title = "jsonb array, rewritten"
    file = "jsonb"
    rounds = 30  # The appends are long.

    def statements(self, session_id):
        (messages,) = self.sql.select_session(self.connection, session_id=session_id)
        messages.append({"message_id": str(ULID()), "role": ROLE, "agent_id": AGENT, "content": content()})
        self.sql.update_session(self.connection, session_id=session_id, messages=Jsonb(messages))


class Bare(Way):
    title = "bare INSERT"
    file = "bare"

    def statements(self, session_id):
        message = json.dumps({"role": ROLE, "agent_id": AGENT, "content": content()})
        self.sql.append(self.connection, session_id=session_id, message=message)
