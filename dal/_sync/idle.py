# Generated from dal/_async/idle.py by .ci/async_to_sync.py: change that file, and run it.
"""Deleting idle sessions without waiting for anybody."""

from __future__ import annotations

from typing import Any

from dal._sync.queries import Query
from dal._sync.runner import Runner
from dal.errors import StatementFailed

_PATIENCE = "20ms"
"""How long the statement waits for a row that somebody holds: far less than the second after which PostgreSQL looks
for a deadlock, so that no append can be the victim of one."""

_LOCK_NOT_AVAILABLE = "55P03"


def delete_idle(runner: Runner, query: Query, most: int, **wanted: Any) -> tuple[str, ...]:
    """Delete at most so many sessions, and return their ids.

    The statement passes over sessions whose own row somebody holds. A row that goes with a session, such as one of a
    service's table that refers to it, is found held only when it is to be deleted, and then nothing is. So fewer
    sessions are tried, down to the one that cannot be deleted, and that one is passed over.
    In a transaction of the caller's, the statement waits as any other does: a lock_timeout would outlast it.
    """
    patience = _PATIENCE if runner.has_own_transaction else None
    passed_over, limit = 0, most
    while True:
        try:
            rows = runner.run(query, passed_over=passed_over, limit=limit, patience=patience, **wanted)
        except StatementFailed as error:
            if error.sqlstate != _LOCK_NOT_AVAILABLE or patience is None:
                raise
            passed_over, limit = (passed_over, limit // 2) if limit > 1 else (passed_over + 1, most)
        else:
            return tuple([row.session_id for row in rows])
