# Generated from dal/_async/backend.py by .ci/async_to_sync.py: change that file, and run it.
"""How a store and its sessions send statements, and for which user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dal._sync.appending import Appends
from dal._sync.queries import Query
from dal._sync.runner import Runner
from dal._sync.standby import Standby
from dal.own_writes import OwnWrites
from dal.validate import Sanitize


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts that a store shares with its sessions."""

    runner: Runner
    appends: Appends
    """Sends the appends of sessions; that of a writer sends them in batches."""
    sanitize: Sanitize = None
    owner: str | None = None
    """The user to whom the store is confined."""
    read_only: bool = False
    standby: Standby | None = None

    def read(self, query: Query, parameters: dict[str, Any], writes: OwnWrites | None = None) -> Any:
        """Run a query that only reads, on the standby if there is one; the rows show these writes."""
        if self.standby is None:
            return self.runner.send(query, parameters)
        return self.standby.read(query, parameters, writes)
