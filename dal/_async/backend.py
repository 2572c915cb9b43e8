"""How a store and its sessions send statements, and for which user."""

from __future__ import annotations

from dataclasses import dataclass

from dal._async.appending import AsyncAppends
from dal._async.runner import AsyncRunner
from dal.validate import Sanitize


@dataclass(frozen=True, slots=True)
class AsyncBackend:
    """The parts that a store shares with its sessions."""

    runner: AsyncRunner
    appends: AsyncAppends
    """Sends the appends of sessions; that of a writer sends them in batches."""
    sanitize: Sanitize = None
    owner: str | None = None
    """The user to whom the store is confined."""
    read_only: bool = False
