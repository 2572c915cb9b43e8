# Generated from dal/_async/backend.py by .ci/async_to_sync.py: change that file, and run it.
"""How a store and its sessions send statements, and for which user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dal._sync.queries import queries
from dal._sync.runner import Runner
from dal.appends import Append, batch_parameters, distribute_rows
from dal.errors import ServerUnavailable
from dal.retries import Attempts
from dal.validate import Sanitize


class Appends:
    """Sends each append at once. If its outcome is unknown, the error has the ids to repeat it with."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store the messages of an append, and set its outcome."""
        if len(append.messages) > 1:
            self.send_all([append], attempts)
            return
        try:
            row = self._runner.run(queries.messages.append, attempts, **append.parameters())
        except ServerUnavailable as error:
            error.message_ids = append.message_ids
            raise
        if row is not None:
            append.rows[0] = row

    def send_all(
        self, appends: Sequence[Append], attempts: Attempts | None = None, *, patience: float | None = None
    ) -> None:
        """Store several appends in one statement, which waits at most `patience` seconds for a locked session."""
        parameters = batch_parameters(appends, patience)
        try:
            rows = self._runner.run(queries.messages.append_all, attempts, **parameters)
        except ServerUnavailable as error:
            error.message_ids = tuple(one for append in appends for one in append.message_ids)
            raise
        distribute_rows(appends, rows)

    def close(self) -> None:
        """Do nothing: no append waits here."""


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
