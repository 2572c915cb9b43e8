"""The pages of an export: the messages to ask for, and the lines made of their rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import groupby
from json.encoder import encode_basestring as quoted
from operator import attrgetter
from typing import Any

from dal.rows import ExportedMessage, ExportedSession

PAGE = 1000
"""Rows to ask for at once. The statements end a page earlier if its rows are large."""


class MessagePages:
    """Reads the messages of sessions page by page, and makes `lines` of them.

    Ask for a page with `parameters`, and `take` its rows, until there are no parameters. While the server reads a page,
    `write` the lines of the previous one.
    """

    def __init__(self) -> None:
        self._waiting = deque[ExportedSession]()
        self._asked = deque[ExportedSession]()
        self._after = -1
        """The last number that was read of the first waiting session; -1 if nothing was."""
        self._unwritten: list[ExportedSession | ExportedMessage] = []
        self.lines = b""

    def begin(self, sessions: Iterable[ExportedSession]) -> None:
        """Read the messages of these sessions next."""
        self._waiting.extend(sessions)

    def parameters(self) -> dict[str, Any] | None:
        """Return the parameters of the next page, which has one session, or several that have few messages."""
        messages = 0
        while self._waiting and (not self._asked or messages + self._waiting[0].messages <= PAGE):
            messages += self._waiting[0].messages
            self._asked.append(self._waiting.popleft())
        ids = [session.session_id for session in self._asked]
        return {"session_ids": ids, "after": self._after, "limit": PAGE} if ids else None

    def take(self, rows: Sequence[ExportedMessage]) -> None:
        """Take the rows of the page that was asked for."""
        messages = {session_id: list(found) for session_id, found in groupby(rows, attrgetter("session_id"))}
        while self._asked:
            session = self._asked.popleft()
            if self._after < 0:
                self._unwritten.append(session)
            found = messages.get(session.session_id, [])
            self._unwritten += found
            self._after = -1
            # A session's message_count may be wrong if somebody changed the tables: ask until no message follows.
            if found and (len(found) == PAGE or (found[-1] is rows[-1] and not found[-1].is_last)):
                self._after = found[-1].sequence
                self._waiting.extendleft(reversed([session, *self._asked]))
                self._asked.clear()

    def write(self) -> None:
        """Write the `lines` of the last page: each session's line, then its messages' lines."""
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
