"""The parts that a store shares with its sessions."""

from __future__ import annotations

from dataclasses import dataclass

from dal._async.appends import AsyncAppends
from dal._async.runner import AsyncRunner
from dal.validate import Sanitize


@dataclass(frozen=True, slots=True)
class AsyncBackend:
    """How a store sends its statements, and for which user."""

    runner: AsyncRunner
    appends: AsyncAppends
    """Sends the appends of sessions; that of a writer sends them in batches."""
    sanitize: Sanitize = None
    owner: str | None = None
    """The user to whom the store is confined."""
    read_only: bool = False
