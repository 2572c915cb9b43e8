"""Scopes: a process, in which sockets, locks and threads work. The async twin is written by hand."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from psycopg_pool import ConnectionPool

from dal.errors import StoreClosed
from dal.processes import FORKED, process

Scope = tuple[int, int]
"""A process."""


def scope() -> Scope:
    """Return the current process."""
    return process()


def is_here(one: Scope) -> bool:
    """Return whether a scope is this process."""
    return one == process()


def is_over(_: Scope) -> bool:
    """Return False: a process that asks has not ended."""
    return False


def run_in(one: Scope, call: Callable[[], None]) -> bool:
    """Call a function in this process; a parent process is left alone."""
    if one == process():
        call()
    return True


class Home:
    """The process of a caller's pool or connection, which cannot be used in another."""

    def __init__(self, pool: ConnectionPool[Any] | None = None) -> None:
        self._is_inherited = pool is not None and _is_inherited(pool)
        self._process = process()

    def check(self) -> None:
        """Raise StoreClosed in another process than that of the store or the pool."""
        if self._is_inherited or process() != self._process:
            raise StoreClosed(FORKED)


def _is_inherited(pool: ConnectionPool[Any]) -> bool:
    """Return whether the pool's thread is missing, as in a child process. The driver has no attribute for it."""
    thread = getattr(pool, "_sched_runner", None)
    return thread is not None and not thread.is_alive()


class EndingPool(ConnectionPool[Any]):
    """A pool that is closed in time."""

    def close(self, timeout: float = 5.0) -> None:
        """Close the pool in another thread: a signal handler may have interrupted the holder of its lock."""
        closing = Thread(target=super().close, args=(timeout,), name="session-dal close", daemon=True)
        try:
            closing.start()
        except RuntimeError:  # Python is ending, and starts no more threads.
            super().close(timeout)
        else:
            closing.join(self.timeout)
