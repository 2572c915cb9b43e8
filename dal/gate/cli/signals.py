"""Ending on a signal, but never halfway through what must be whole: starting something, and cleaning up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import TypeVar

Entered = TypeVar("Entered")

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, a request to end, and (where there is one) the end of the terminal."""


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end. A KeyboardInterrupt, so that psycopg cancels the statement that runs."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


class _Held:
    """How many blocks hold signals back, and the one that came meanwhile."""

    depth = 0
    signum: int | None = None


def listen() -> None:
    """Let the signals that end a process raise Stopped in the main thread."""
    for ending in _ENDINGS:
        # nohup has the end of the terminal ignored, and means it.
        if ending in {signal.SIGINT, signal.SIGTERM} or signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, _receive)


def disregard() -> None:
    """Let nothing more interrupt what is left: the end of the process itself."""
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)


def _receive(signum: int, _frame: FrameType | None) -> None:
    if not _Held.depth:
        raise Stopped(signum)
    _Held.signum = signum


@contextmanager
def held() -> Iterator[None]:
    """Hold signals back until the end of the block."""
    _Held.depth += 1
    try:
        with _unseen_by_children():
            yield
    finally:
        _Held.depth -= 1
        if not _Held.depth and _Held.signum is not None:
            signum, _Held.signum = _Held.signum, None
            raise Stopped(signum)


@contextmanager
def _unseen_by_children() -> Iterator[None]:
    """Mask the signals: a Ctrl-C goes to every program on the terminal, and most (as pg_ctl) inherit the mask.

    For this process it would not be enough, because any other thread could still take them. A program that
    unmasks them (as initdb's do) fails, and held puts Stopped in the place of its error.
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
def whole(manager: AbstractContextManager[Entered]) -> Iterator[Entered]:
    """Enter and leave a context manager without a signal in between, so that what it started is stopped."""
    with ExitStack() as stack:
        try:
            with held():
                entered = stack.enter_context(manager)
            yield entered
        finally:
            with held():
                stack.close()
