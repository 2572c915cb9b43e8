"""Delete idle sessions without waiting for locks."""

from __future__ import annotations

from typing import Any

from dal._async.queries import AsyncQuery
from dal._async.runner import AsyncRunner
from dal.errors import StatementFailed

_PATIENCE = "20ms"
"""The lock_timeout of the statement: far below deadlock_timeout (1 s), so that no append can be the victim of a
deadlock."""

_LOCK_NOT_AVAILABLE = "55P03"


async def delete_idle(runner: AsyncRunner, query: AsyncQuery, most: int, **wanted: Any) -> tuple[str, ...]:
    """Delete at most `most` sessions, and return their ids.

    The statement skips sessions whose row is locked. A locked row that refers to a session, such as one of a
    service's own table, is found only by the delete, which then fails as a whole. So the next attempts take fewer
    sessions, down to the one that cannot be deleted, and skip that one.
    In a transaction of the caller's the statement waits for locks, since a lock_timeout would outlast it.
    """
    patience = _PATIENCE if runner.has_own_transaction else None
    passed_over, limit = 0, most
    while True:
        try:
            rows = await runner.run(query, passed_over=passed_over, limit=limit, patience=patience, **wanted)
        except StatementFailed as error:
            if error.sqlstate != _LOCK_NOT_AVAILABLE or patience is None:
                raise
            passed_over, limit = (passed_over, limit // 2) if limit > 1 else (passed_over + 1, most)
        else:
            return tuple([row.session_id for row in rows])
