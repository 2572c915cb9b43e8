"""End on a signal, but never in the middle of starting a server or cleaning up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import TypeVar

Entered = TypeVar("Entered")

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, a request to end and, where it exists, the end of the terminal."""


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end. A KeyboardInterrupt, so that psycopg cancels the running statement."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


class _Deferred:
    """The number of blocks that defer signals now, and the last signal that arrived in them."""

    depth = 0
    signum: int | None = None


def install_handlers() -> None:
    """Raise Stopped in the main thread on a signal that ends the process."""
    for ending in _ENDINGS:
        # nohup has set SIG_IGN, so that the program survives the end of the terminal.
        if ending in {signal.SIGINT, signal.SIGTERM} or signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, _receive)


def ignore() -> None:
    """Ignore further signals until the process ends."""
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)


def _receive(signum: int, _frame: FrameType | None) -> None:
    if not _Deferred.depth:
        raise Stopped(signum)
    _Deferred.signum = signum


@contextmanager
def deferred() -> Iterator[None]:
    """Defer signals until the end of the block."""
    _Deferred.depth += 1
    try:
        with _hidden_from_children():
            yield
    finally:
        _Deferred.depth -= 1
        if not _Deferred.depth and _Deferred.signum is not None:
            signum, _Deferred.signum = _Deferred.signum, None
            raise Stopped(signum)


@contextmanager
def _hidden_from_children() -> Iterator[None]:
    """Mask the signals, so that programs that start meanwhile (such as pg_ctl) inherit the mask.

    A Ctrl-C reaches every program on the terminal. The mask alone is not enough for this process, since its other
    threads can still receive signals. A program that unmasks them (such as initdb) fails; `deferred` replaces its error
    by Stopped.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterrupted(manager: AbstractContextManager[Entered]) -> Iterator[Entered]:
    """Enter and leave a context manager without interruption, so that whatever it started is stopped."""
    with ExitStack() as stack:
        try:
            with deferred():
                entered = stack.enter_context(manager)
            yield entered
        finally:
            with deferred():
                stack.close()
