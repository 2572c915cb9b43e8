"""The queue of a pool's waiting clients."""

from __future__ import annotations

from traceback import walk_tb
from typing import Any

from psycopg_pool.errors import PoolTimeout
from psycopg_pool.pool_async import AsyncConnectionPool, ReturnConnection, WaitingClient


async def leave_queue(error: BaseException) -> bool:
    """Remove an interrupted caller from the queue of its pool; return False if it was not in a queue.

    The pool handles only an Exception there; after another one it would hand a connection to the missing client.
    """
    found = _place(error)
    if found is None:
        return False
    pool, client = found
    if not await client.fail(PoolTimeout("interrupted")) and client.conn is not None:
        pool.run_task(ReturnConnection(pool, client.conn, from_getconn=True))
    return True


def _place(error: BaseException) -> tuple[AsyncConnectionPool[Any], WaitingClient[Any]] | None:
    """Find the pool and its waiting client in the traceback of the interrupt."""
    pool = None
    for frame, _ in walk_tb(error.__traceback__):
        one = frame.f_locals.get("self")
        if isinstance(one, AsyncConnectionPool):
            pool = one
        if pool is not None and isinstance(one, WaitingClient) and frame.f_code is WaitingClient.wait.__code__:
            return pool, one
    return None
