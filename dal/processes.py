"""Processes: what a child process inherits by a fork, and must not use."""

from __future__ import annotations

import os
import sys
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

_forks = 0
"""How many forks lie between the first process and this one."""

_connections: WeakSet[BaseConnection[Any]] = WeakSet()
"""Those of which a child process closes its copy of the socket."""


def process() -> tuple[int, int]:
    """Return what identifies this process, even if it has the pid of an ancestor that ended."""
    return _forks, os.getpid()


def detach_in_child(connection: BaseConnection[Any]) -> None:
    """Take the connection's socket away from child processes, from here on."""
    _connections.add(connection)


@contextmanager
def not_in_child(connection: BaseConnection[Any]) -> Iterator[None]:
    """Run a block that uses a connection. A child process that is forked within the block gets a StoreClosed."""
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
    """A pool of which a child process finalizes nothing: its threads are not there, and may have held its locks.

    The interpreter's exit finalizes nothing either: from Python 3.13 on, that would wait 5 s for each of its threads.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._made_in = process()
        super().__init__(*arguments, **options)

    def __del__(self) -> None:
        finalize = getattr(super(), "__del__", None)
        if finalize is not None and self._made_in == process() and not sys.is_finalizing():
            finalize()


def _detach() -> None:
    """Put a socket whose other end is closed in the place of each.

    Whatever this process still sends, such as a Terminate or the end of a TLS session, does not reach the parent's
    server process; and that one ends with the parent, since nobody else holds its socket open.
    """
    global _forks  # noqa: PLW0603 - a process has one
    _forks += 1
    ended, other = socketpair()
    other.close()
    for connection in list(_connections):
        with suppress(psycopg.Error, OSError):  # It was closed.
            os.dup2(ended.fileno(), connection.pgconn.socket)
    ended.close()
    _connections.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_detach)
