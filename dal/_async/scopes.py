"""Scopes: the event loop of a process, in which sockets, locks and tasks work. The sync twin is written by hand."""

from __future__ import annotations

from asyncio import (
    AbstractEventLoop,
    CancelledError,
    Task,
    current_task,
    get_running_loop,
    run_coroutine_threadsafe,
    sleep,
)
from collections.abc import Callable, Coroutine
from typing import Any

from psycopg_pool import AsyncConnectionPool

from dal.errors import StoreClosed
from dal.processes import FORKED, process

Scope = tuple[tuple[int, int], AbstractEventLoop]
"""A process and an event loop."""

_OTHER_LOOP = (
    "this belongs to another event loop: its pool or connection was opened there. Open one in this event loop, or use "
    "AsyncSessionStore.connect, which has a pool for each"
)


def scope() -> Scope:
    """Return the current process and event loop."""
    return process(), get_running_loop()


def is_here(one: Scope) -> bool:
    """Return whether a scope is in this process."""
    return one[0] == process()


def is_over(one: Scope) -> bool:
    """Return whether a scope has ended: its event loop in this process is closed."""
    return one[0] == process() and one[1].is_closed()


async def run_in(one: Scope, call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Call a function in a scope of this process; return False if its event loop does not run."""
    loop = one[1]
    if one == scope():
        await call()
    elif one[0] == process():
        if not loop.is_running():
            return False
        there = run_coroutine_threadsafe(call(), loop)
        while not there.done():
            if not loop.is_running():
                return False
            await sleep(0.005)
        there.result()
    return True


class Home:
    """The scope of a caller's pool or connection, which cannot be used in another."""

    def __init__(self, pool: AsyncConnectionPool[Any] | None = None) -> None:
        self._pool = pool
        self._process = process()
        self._loop: AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise StoreClosed in another process, or in another event loop than that of the first use."""
        if process() != self._process:
            raise StoreClosed(FORKED)
        loop = get_running_loop()
        if self._loop is None:
            self._loop = loop if self._pool is None else self._opened_in()
        if self._loop not in {None, loop}:
            raise StoreClosed(_OTHER_LOOP)

    def _opened_in(self) -> AbstractEventLoop | None:
        """Return the event loop of the pool. The driver has no attribute for it, but an open pool has a task there."""
        task = getattr(self._pool, "_sched_runner", None)
        return None if task is None else task.get_loop()


class _Tasks:
    """The queue of a pool's worker, which ends the worker if it was cancelled while it connected."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    async def get(self) -> Any:
        """Return the next task of the queue."""
        worker = current_task()
        if worker is not None and worker.cancelling():
            raise CancelledError
        return await self._queue.get()


_TASKS = set[Task[Any]]()
"""The running tasks of all pools. They outlive a pool that was not closed, so that its finalizer can end them."""


class AsyncEndingPool(AsyncConnectionPool[Any]):
    """A pool whose tasks end with the pool or with their event loop."""

    def _start_workers(self) -> None:
        super()._start_workers()
        for task in filter(None, [*self._workers, self._sched_runner]):
            _TASKS.add(task)
            task.add_done_callback(_TASKS.discard)

    @classmethod
    async def worker(cls, q: Any) -> None:
        """Work until the pool or its event loop is closed."""
        await super().worker(_Tasks(q))  # type: ignore[arg-type]

    def __del__(self) -> None:
        """End the tasks and the connections. The driver's own finalizer would leave an unawaited coroutine."""
        for task in filter(None, [*self._workers, self._sched_runner]):
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
        for connection in self._pool:
            connection.pgconn.finish()
