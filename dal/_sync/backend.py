# Generated from dal/_async/backend.py by .ci/async_to_sync.py: change that file, and run it.
"""The parts that a store shares with its sessions."""

from __future__ import annotations

from dataclasses import dataclass

from dal._sync.appends import Appends
from dal._sync.runner import Runner
from dal.validate import Sanitize


@dataclass(frozen=True, slots=True)
class Backend:
    """How a store sends its statements, and for which user."""

    runner: Runner
    appends: Appends
    """Sends the appends of sessions; that of a writer sends them in batches."""
    sanitize: Sanitize = None
    owner: str | None = None
    """The user to whom the store is confined."""
    read_only: bool = False
