"""Forks and interrupts: a child process must not use inherited connections, and a signal may stop a call anywhere."""

from __future__ import annotations

import os
import sys
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import socketpair
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import BaseConnection

from dal.errors import StoreClosed

FORKED = (
    "this belongs to another process: a fork shares its connection, on which each process would read the other's "
    "rows. In this process begin the transaction or stream again, on a store from SessionStore.connect, or on a pool "
    "or connection that is made here, as in gunicorn's post_fork"
)

_RAISED_WHERE_CODE_WAITS = (Exception, CancelledError, GeneratorExit)

_forks = 0
"""The number of forks between the first process and this one."""

_connections: WeakSet[BaseConnection[Any]] = WeakSet()
"""The connections whose sockets a child process replaces."""


def interrupts(error: BaseException) -> bool:
    """Return whether an exception may be raised at any place, such as a KeyboardInterrupt or a killed greenlet."""
    return not isinstance(error, _RAISED_WHERE_CODE_WAITS)


def process() -> tuple[int, int]:
    """Return an identity of this process, even if it has the pid of an ended ancestor."""
    return _forks, os.getpid()


def detach_in_child(connection: BaseConnection[Any]) -> None:
    """Make child processes replace the socket of this connection from now on."""
    _connections.add(connection)


@contextmanager
def not_in_child(connection: BaseConnection[Any]) -> Iterator[None]:
    """Use a connection in a block. A child process that is forked within the block gets StoreClosed."""
    begun_in = process()
    was_detached = connection in _connections
    _connections.add(connection)
    try:
        yield
    except psycopg.Error as error:
        if process() != begun_in:
            raise StoreClosed(FORKED) from error
        raise
    finally:
        if not was_detached:
            _connections.discard(connection)
    if process() != begun_in:
        raise StoreClosed(FORKED)


class OfOneProcess:
    """A pool that is not finalized in a child process, which lacks its threads and may inherit locked locks.

    It is not finalized at exit either: since Python 3.13 that would wait 5 s for each of its threads.
    """

    _made_in: tuple[int, int] | None = None
    """Its process; None if an interrupt came before."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._made_in = process()
        super().__init__(*arguments, **options)

    def __del__(self) -> None:
        finalize = getattr(super(), "__del__", None)
        if finalize is not None and self._made_in == process() and not sys.is_finalizing():
            finalize()


def _detach() -> None:
    """Replace each socket by one whose other end is closed.

    So a Terminate message or the end of a TLS session of this process does not reach the parent's server process, which
    ends with the parent, since no other process has its socket open.
    """
    global _forks  # noqa: PLW0603 - a process has one
    _forks += 1
    ended, other = socketpair()
    other.close()
    for connection in list(_connections):
        with suppress(psycopg.Error, OSError):  # It is closed.
            os.dup2(ended.fileno(), connection.pgconn.socket)
    ended.close()
    _connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_detach)
