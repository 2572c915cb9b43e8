"""The usual SQL, for comparison: sessions and messages as a typical service stores them.

The conditions are the same: the library's tables, one connection, prepared statements, no needless statement. Only the
library's improvements are missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql
import psycopg
from ulid import ULID

_statements: Any = aiosql.from_path(Path(__file__).parent, "psycopg")


class Service:
    """Stores sessions the usual way: a call for each statement, a transaction for each operation."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection  # Without autocommit: the driver sends BEGIN before the first statement.

    def open(self, session_id: str) -> None:
        """Store a session's row."""
        _statements.open_session(self._connection, session_id=session_id)
        self._connection.commit()

    def append(self, session_id: str, role: str, content: str) -> None:
        """Store a message, whose number is the count of the earlier ones."""
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
