"""Where sockets, locks and tasks work: in one event loop of one process. The synchronous twin is written by hand."""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop, run_coroutine_threadsafe, sleep
from collections.abc import Callable, Coroutine
from typing import Any

from psycopg_pool import AsyncConnectionPool

from dal.errors import StoreClosed
from dal.processes import FORKED, process

Scope = tuple[tuple[int, int], AbstractEventLoop]
"""A process, and an event loop in it."""

_OTHER_LOOP = (
    "this belongs to another event loop: its pool or connection was opened there. Open one in this event loop, or use "
    "AsyncSessionStore.connect, which has a pool for each"
)


def scope() -> Scope:
    """Return the process and the event loop in which this runs."""
    return process(), get_running_loop()


def is_here(one: Scope) -> bool:
    """Return whether it is of this process."""
    return one[0] == process()


def is_over(one: Scope) -> bool:
    """Return whether nothing can run there any more: it is a closed event loop of this process."""
    return one[0] == process() and one[1].is_closed()


async def run_in(one: Scope, call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Call this in a scope, unless it is a parent process's; return False if its event loop does not run."""
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
    """The scope of a caller's pool or connection, which works nowhere else."""

    def __init__(self, pool: AsyncConnectionPool[Any] | None = None) -> None:
        self._pool = pool
        self._process = process()
        self._loop: AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise StoreClosed in another process, or in another event loop than where it was opened or first used."""
        if process() != self._process:
            raise StoreClosed(FORKED)
        loop = get_running_loop()
        if self._loop is None:
            self._loop = loop if self._pool is None else self._opened_in()
        if self._loop not in {None, loop}:
            raise StoreClosed(_OTHER_LOOP)

    def _opened_in(self) -> AbstractEventLoop | None:
        """The pool's event loop: the driver tells it nowhere, but it has a task there while it is open."""
        task = getattr(self._pool, "_sched_runner", None)
        return None if task is None else task.get_loop()
