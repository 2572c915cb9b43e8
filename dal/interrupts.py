"""Exceptions that may be raised at any place."""

from __future__ import annotations

from asyncio import CancelledError

_ORDINARY = (Exception, CancelledError, GeneratorExit)
"""Exceptions that are raised only where code waits or yields."""


def interrupts(error: BaseException) -> bool:
    """Return whether an exception may be raised at any place, such as a KeyboardInterrupt or a killed greenlet."""
    return not isinstance(error, _ORDINARY)
