"""Which queries an export sends, page by page, and the lines made of their rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dal.histories.marks import written
from dal.histories.pace import Pace
from dal.records import ExportedMessages, ExportedSession


class Unwritten(NamedTuple):
    """So many messages after this number, whose lines messages.export does not give."""

    session_id: str
    after: int
    messages: int


@dataclass(slots=True)
class Page:
    """Sessions, and the messages that were read of each after this number."""

    after: int = -1
    sessions: list[ExportedSession] = field(default_factory=list)
    rows: list[ExportedMessages] = field(default_factory=list)
    pieces: list[bytes | Unwritten] = field(default_factory=list)
    """What was written of it."""
    size: int = 0
    """How many bytes that is."""

    @property
    def messages(self) -> int:
        """How many there are."""
        return sum(row.messages for row in self.rows)

    def write(self) -> None:
        """Write the lines."""
        for session, row in zip(self.sessions, self.rows, strict=True):
            if self.after < 0:
                self.pieces.append(session.line)
            if row.messages:
                lines = None if row.lines is None else written(session.session_id, row.lines, row.marks)
                self.pieces.append(Unwritten(session.session_id, self.after, row.messages) if lines is None else lines)
        self.size = sum(len(piece) for piece in self.pieces if isinstance(piece, bytes))


class Step(NamedTuple):
    """A query file to send, and the page before, to be written while the server is at it."""

    query: str
    parameters: dict[str, Any]
    page: Page


def steps(query: str, wanted: dict[str, Any]) -> Generator[Step | None, Any, None]:
    """Give one step after the other, each for the rows of the one before, and None at the end."""
    heads, pace, page = Pace(), Pace(), Page()

    def ask(query: str, **parameters: Any) -> Generator[Step | None, Any, Any]:
        rows = yield Step(query, parameters, page)
        if page.messages:
            pace.went(page.messages, page.size)
        return rows

    last = "-infinity", ""
    while found := (yield from ask(query, listed_after=last[0], id_after=last[1], limit=heads.limit, **wanted)):
        heads.went(len(found), sum(len(session.line) for session in found))
        last = found[-1].listed_at.isoformat(), found[-1].session_id
        todo, after, page = deque[ExportedSession](found), -1, Page()
        while todo:
            limit = pace.limit
            ids = _first(todo, 0 if after >= 0 else limit)
            rows = yield from ask("messages.export", session_ids=ids, after=after, limit=limit, largest=pace.largest)
            page = Page(after)
            for row in rows:
                page.sessions.append(todo[0])
                page.rows.append(row)
                if row.messages == limit:  # There may be more of it.
                    after = row.sequence
                    break
                todo.popleft()
                after = -1
    yield None


def _first(sessions: Iterable[ExportedSession], messages: int) -> list[str]:
    """Give the ids of the first sessions that have so many messages together, but of one at least."""
    ids: list[str] = []
    for session in sessions:
        messages -= session.messages + 1
        if ids and messages < 0:
            break
        ids.append(session.session_id)
    return ids
