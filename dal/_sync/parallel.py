"""Calls at the same time, in threads. The asynchronous twin is written by hand: it uses tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context
from threading import Thread


def run_all(calls: Sequence[Callable[[], None]]) -> None:
    """Make all calls at the same time, the first one in this thread, and wait for them. Their hooks see its context."""
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [
        Thread(target=copy_context().run, args=(run, call), name="session-dal append_all", daemon=True)
        for call in calls[1:]
    ]
    for thread in threads:
        thread.start()
    run(calls[0])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
