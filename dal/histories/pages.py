"""The pages of an export: which messages each one asks for, and the lines made of the rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import groupby
from json.encoder import encode_basestring as quoted
from operator import attrgetter
from typing import Any

from dal.records import ExportedMessage, ExportedSession

PAGE = 1000
"""Rows to ask for at once. The statements end a page early where its rows are large."""


class MessagePages:
    """The messages of sessions, a page at a time, and their `lines`.

    Send the `parameters` and `take` the rows, until there are none. While the server reads the next page, `write` the
    lines of the last one.
    """

    def __init__(self) -> None:
        self._waiting = deque[ExportedSession]()
        self._asked = deque[ExportedSession]()
        self._after = -1
        """The number of the last message that was read of the first session; -1 before the first."""
        self._unwritten: list[ExportedSession | ExportedMessage] = []
        self.lines = b""

    def begin(self, sessions: Iterable[ExportedSession]) -> None:
        """Begin with the messages of other sessions."""
        self._waiting.extend(sessions)

    def parameters(self) -> dict[str, Any] | None:
        """Return the parameters of the next page: of one session, or of several that have few messages."""
        messages = 0
        while self._waiting and (not self._asked or messages + self._waiting[0].messages <= PAGE):
            messages += self._waiting[0].messages
            self._asked.append(self._waiting.popleft())
        ids = [session.session_id for session in self._asked]
        return {"session_ids": ids, "after": self._after, "limit": PAGE} if ids else None

    def take(self, rows: Sequence[ExportedMessage]) -> None:
        """Take the rows of that page."""
        messages = {session_id: list(found) for session_id, found in groupby(rows, attrgetter("session_id"))}
        while self._asked:
            session = self._asked.popleft()
            if self._after < 0:
                self._unwritten.append(session)
            found = messages.get(session.session_id, [])
            self._unwritten += found
            self._after = -1
            # The sessions' own counts may be wrong, if somebody has changed the tables: ask until nothing follows.
            if found and (len(found) == PAGE or (found[-1] is rows[-1] and not found[-1].is_last)):
                self._after = found[-1].sequence
                self._waiting.extendleft(reversed([session, *self._asked]))
                self._asked.clear()

    def write(self) -> None:
        """Write the `lines` of the last page: each session's own, and those of its messages."""
        lines = [one.line if isinstance(one, ExportedSession) else _line(one) for one in self._unwritten]
        self._unwritten = []
        self.lines = "".join(lines).encode()


def _line(message: ExportedMessage) -> str:
    agent_id = "null" if message.agent_id is None else quoted(message.agent_id)
    return (
        f'{{"message":{{"session_id":{quoted(message.session_id)},"sequence":{message.sequence},'
        f'"message_id":{quoted(message.message_id)},"role":{quoted(message.role)},"agent_id":{agent_id},'
        f'"content":{quoted(message.content)},"metadata":{message.json_metadata},'
        f'"created_at":"{message.iso_created_at}"}}}}\n'
    )
