"""How a store and its sessions send statements, and for which user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dal._async.appending import AsyncAppends
from dal._async.queries import AsyncQuery
from dal._async.runner import AsyncRunner
from dal._async.standby import AsyncStandby
from dal.own_writes import OwnWrites
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
    standby: AsyncStandby | None = None

    async def read(self, query: AsyncQuery, parameters: dict[str, Any], writes: OwnWrites | None = None) -> Any:
        """Run a query that only reads, on the standby if there is one; the rows show these writes."""
        if self.standby is None:
            return await self.runner.send(query, parameters)
        return await self.standby.read(query, parameters, writes)
