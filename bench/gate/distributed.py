"""The gate's fixtures for our own queries on a cluster: the same calls as in fixtures.py, on little data.

Remote commands do not depend on the size of the tables, and a cluster is slow to fill.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import aiosql
import psycopg

_HERE = Path(__file__).parent
_statements: Any = aiosql.from_path(_HERE, "psycopg", attribute=None)

_TALK = "talk"
_MOST = 64


def _calls() -> Any:
    """Load fixtures.py. The gate loads a file of fixtures by its path, so it is in no package."""
    spec = importlib.util.spec_from_file_location("dal_gate_fixtures", _HERE / "fixtures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


parameters = _calls().parameters


def grow(connection: psycopg.Connection[Any], axis: str, before: int, size: int) -> None:
    """Store the sessions that the calls use. There are enough of them for each axis."""
    if axis not in _AXES or size > _MOST:
        raise LookupError(f"unknown axis {axis!r}, or more than {_MOST} of it: {size}")
    _statements.store_session(connection, session_id=_TALK, messages=size, next_sequence=2 * size)
    _statements.grow_messages(connection, session_id=_TALK, before=before, size=size, agents=5)
    _statements.grow_removed(connection, session_id=_TALK, before=size, size=2 * size)
    _statements.grow_changes(connection, session_id=_TALK, before=before, size=20)
    _statements.fill_trash(connection, session_id="trashed")
    for prefix in (_TALK, "s"):
        _statements.store_sessions(connection, prefix=prefix, size=size)
        _statements.store_first_messages(connection, prefix=prefix, size=size)
    _statements.break_rule(connection, session_id="s3")
    _statements.put_ahead(connection, session_id="s4")  # For sessions.relist to find.
    _statements.grow_tombstones(connection, before=before, size=size)


_AXES = {
    "the standard data",
    "the given sessions",
    "the deleted sessions",
    "the purged tombstones",
    "the purged messages",
}
