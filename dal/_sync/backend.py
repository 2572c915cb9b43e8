# Generated from dal/_async/backend.py by .ci/async_to_sync.py: change that file, and run it.
"""What a store and the sessions that it opens have in common."""

from __future__ import annotations

from dataclasses import dataclass

from dal._sync.appends import Appends
from dal._sync.runner import Runner
from dal.validate import Sanitize


@dataclass(frozen=True, slots=True)
class Backend:
    """How a store sends its statements, and for whom."""

    runner: Runner
    appends: Appends
    """Sends what sessions append; a writer's sends it in batches."""
    sanitize: Sanitize = None
    owner: str | None = None
    """The user that the store is confined to."""
    read_only: bool = False
