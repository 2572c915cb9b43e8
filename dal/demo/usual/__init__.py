"""The usual SQL, for comparison: sessions and messages as a typical service stores them.

It uses the library's tables, under the same conditions: one connection, prepared statements,
no needless statement. It lacks only what the library adds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql
import psycopg
from ulid import ULID

_statements: Any = aiosql.from_path(Path(__file__).parent, "psycopg")


class Service:
    """Sessions kept the usual way: each statement a call, each operation a transaction."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection  # Not in autocommit mode: the driver sends BEGIN before the first statement.

    def open(self, session_id: str) -> None:
        """Store a session's row."""
        _statements.open_session(self._connection, session_id=session_id)
        self._connection.commit()

    def append(self, session_id: str, role: str, content: str) -> None:
        """Store a message under the number that counting gives."""
        _statements.select_session(self._connection, session_id=session_id)
        (messages,) = _statements.count_messages(self._connection, session_id=session_id)
        _statements.insert_message(
            self._connection,
            session_id=session_id,
            sequence=messages,
            message_id=str(ULID()),
            role=role,
            content=content,
        )
        _statements.update_session(self._connection, session_id=session_id, messages=messages + 1)
        self._connection.commit()

    def agent_ids(self, session_id: str) -> tuple[str, ...]:
        """List the agents of a session."""
        agents = tuple(agent for (agent,) in _statements.scan_agents(self._connection, session_id=session_id))
        self._connection.commit()
        return agents
