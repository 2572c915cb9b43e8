"""Where sockets, locks and threads work: in one process. The asynchronous twin is written by hand: it has loops too."""

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
    """Return the process in which this runs."""
    return process()


def is_here(one: Scope) -> bool:
    """Return whether it is of this process."""
    return one == process()


def is_over(_: Scope) -> bool:
    """Return whether nothing can run there any more: one that can ask is not over."""
    return False


def run_in(one: Scope, call: Callable[[], None]) -> bool:
    """Call this in a scope, unless it is a parent process's."""
    if one == process():
        call()
    return True


class Home:
    """The process of a caller's pool or connection, which works nowhere else."""

    def __init__(self, pool: ConnectionPool[Any] | None = None) -> None:
        self._pool = pool
        self._process = process()

    def check(self) -> None:
        """Raise StoreClosed in another process than where the store was made, or the pool was opened."""
        if process() != self._process or self._is_inherited():
            raise StoreClosed(FORKED)

    def _is_inherited(self) -> bool:
        """Whether the pool's thread is missing, as in a child process: the driver tells it nowhere."""
        thread = getattr(self._pool, "_sched_runner", None)
        return thread is not None and not thread.is_alive()


class EndingPool(ConnectionPool[Any]):
    """A pool that is closed in time."""

    def close(self, timeout: float = 5.0) -> None:
        """Close it, in a thread of its own: a signal handler may have interrupted one that holds the pool's lock."""
        closing = Thread(target=super().close, args=(timeout,), name="session-dal close", daemon=True)
        try:
            closing.start()
        except RuntimeError:  # A Python that ends starts no more threads.
            super().close(timeout)
        else:
            closing.join(self.timeout)
