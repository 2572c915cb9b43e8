"""Exceptions that may come at any place."""

from __future__ import annotations

from asyncio import CancelledError

_ORDINARY = (Exception, CancelledError, GeneratorExit)
"""Those that are raised where one waits or yields, by whoever is waited for."""


def interrupts(error: BaseException) -> bool:
    """Return whether an exception may have come at any place, as a KeyboardInterrupt does, or a greenlet's end."""
    return not isinstance(error, _ORDINARY)
