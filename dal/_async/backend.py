"""What a store and the sessions that it opens have in common."""

from __future__ import annotations

from dataclasses import dataclass

from dal._async.appends import AsyncAppends
from dal._async.runner import AsyncRunner
from dal.validate import Sanitize


@dataclass(frozen=True, slots=True)
class AsyncBackend:
    """How a store sends its statements, and for whom."""

    runner: AsyncRunner
    appends: AsyncAppends
    """Sends what sessions append; a writer's sends it in batches."""
    sanitize: Sanitize = None
    owner: str | None = None
    """The user that the store is confined to."""
    read_only: bool = False
