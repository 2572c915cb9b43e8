"""The queue of those who wait for a connection of a pool."""

from __future__ import annotations

from traceback import walk_tb
from typing import Any

from psycopg_pool.errors import PoolTimeout
from psycopg_pool.pool_async import AsyncConnectionPool, ReturnConnection, WaitingClient


async def leave_queue(error: BaseException) -> bool:
    """Take a caller out of the queue of a pool where this has interrupted it; return False if it was not there.

    A pool expects no other exception there than an Exception, and would give a connection to who is gone.
    """
    found = _place(error)
    if found is None:
        return False
    pool, client = found
    if not await client.fail(PoolTimeout("interrupted")) and client.conn is not None:
        pool.run_task(ReturnConnection(pool, client.conn, from_getconn=True))
    return True


def _place(error: BaseException) -> tuple[AsyncConnectionPool[Any], WaitingClient[Any]] | None:
    """Find a pool and its client in the stack of what was interrupted: the one waits on behalf of the other."""
    pool = None
    for frame, _ in walk_tb(error.__traceback__):
        one = frame.f_locals.get("self")
        if isinstance(one, AsyncConnectionPool):
            pool = one
        if pool is not None and isinstance(one, WaitingClient) and frame.f_code is WaitingClient.wait.__code__:
            return pool, one
    return None
