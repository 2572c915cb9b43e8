"""The settings of a pool's connection, which its borrower may change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

_OF_ROWS = ("row_factory", "cursor_factory", "prepare_threshold")

_OF_TRANSACTIONS = ("autocommit", "isolation_level", "read_only", "deferrable")


@asynccontextmanager
async def settings_kept(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Commit at the end of the block, unless in autocommit mode, and restore the settings."""
    before = {name: getattr(connection, name) for name in (*_OF_ROWS, *_OF_TRANSACTIONS)}
    try:
        yield
        if not connection.autocommit:
            await connection.commit()
    finally:
        with suppress(psycopg.Error):  # The connection is broken; the pool replaces it.
            await _restore(connection, before)


async def _restore(connection: AsyncConnection[Any], before: dict[str, Any]) -> None:
    for name in _OF_ROWS:
        setattr(connection, name, before[name])
    changed = [name for name in _OF_TRANSACTIONS if getattr(connection, name) != before[name]]
    if changed and connection.info.transaction_status != TransactionStatus.IDLE:
        await connection.rollback()
    for name in changed:
        await getattr(connection, f"set_{name}")(before[name])
