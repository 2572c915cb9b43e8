"""The batches of an import. Each is one transaction, of whole sessions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dal.errors import InvalidInput
from dal.histories.lines import Line
from dal.records import Imported

SQL = {path.stem: path.read_bytes() for path in Path(__file__).parent.glob("*.sql")}
"""The statements of an import, by the names of their files."""

MOST_LINES = 20_000
"""A batch with this many lines takes no more sessions."""

_MOST_CHARACTERS = 2**24
"""The same for characters of metadata of sessions, which stays in memory until their messages are sent."""

MOST_AHEAD = 2**23
"""Characters of messages to read ahead while the previous batch is stored."""

_EACH = 200
"""Characters to count for the other fields of a message."""

_REASONS = {
    "archived": "it is archived, and lacks messages of the file",
    "trashed": "it is in the trash, and lacks messages of the file",
    "deleted": "it was deleted",
    "conflict": "a message_id is stored with other content",
    "owner": "it belongs to another user",
}

Row = tuple[Any, ...]


class _Session:
    """A session of the batch, and figures of its messages; `line` is None if the file has no line for it."""

    __slots__ = ("_fields", "_number", "agents", "count", "created", "first", "last")

    def __init__(self, line: Line | None) -> None:
        self._fields = line.fields if line is not None else {}
        self._number = line.number if line is not None else 0
        self.count = 0
        self.last = -1
        """The sequence number of its last message."""
        self.first: datetime | None = None
        """The time of its first message."""
        self.created: datetime | None = self._fields.get("created_at") or self._fields.get("updated_at")
        """The time of its last message; before the first, the default for it."""
        self.agents: dict[str, None] | None = {} if self._fields.get("agent_ids") is not None else None

    def message(self, line: Line) -> Row:
        """Return the row of a message; raise InvalidInput unless its number and time follow the last one's."""
        fields = line.fields
        sequence, created = fields["sequence"], fields["created_at"]
        if sequence is None:
            sequence = self.last + 1
        elif sequence <= self.last:
            raise InvalidInput(f"line {line.number}: sequence", f"is {sequence}; it must be above {self.last}")
        if created is None:
            created = self.created
        elif self.count and self.created is None:
            raise InvalidInput(f"line {line.number}: created_at", "is given, but the message above has none")
        elif self.count and self.created is not None and created < self.created:
            raise InvalidInput(f"line {line.number}: created_at", "is earlier than in the message above")
        if not self.count:
            self.first = created
        self.count, self.last, self.created = self.count + 1, sequence, created
        if self.agents is not None and fields["agent_id"] is not None:
            self.agents[fields["agent_id"]] = None
        return (
            line.session_id, sequence, fields["message_id"], fields["role"], fields["agent_id"], fields["content"],
            fields["metadata"], created and created.isoformat(),
        )  # fmt: skip

    def row(self, session_id: str, owner: str | None) -> Row:
        """Return the row of the session; call this after its last message."""
        get = self._fields.get
        next_sequence, updated = get("next_sequence"), get("updated_at")
        if get("message_count") not in {None, self.count}:
            raise self._wrong("message_count", f"is {get('message_count')}, but {self.count} messages follow")
        if next_sequence is None:
            next_sequence = self.last + 1
        elif next_sequence <= self.last:
            raise self._wrong("next_sequence", f"is {next_sequence}, but the last message has {self.last}")
        if (get("fork_point") or 0) > next_sequence:
            raise self._wrong("fork_point", f"is {get('fork_point')}, but the next number is {next_sequence}")
        if updated is None:
            updated = self.created
        elif self.created is not None and updated < self.created:
            raise self._wrong("updated_at", "is earlier than the last message")
        if self.agents is not None and list(self.agents) != get("agent_ids"):
            raise self._wrong("agent_ids", "must list the agents of its messages, in order of first appearance")
        return (
            session_id, get("source"), get("user_id", owner), get("parent_id"), get("status", "active"), next_sequence,
            self.count, get("agent_ids"), get("metadata", "{}"), get("created_at") or self.first, updated,
            get("archived_at"), get("revision") or 0, get("fork_point"), get("trashed_from"), owner,
        )  # fmt: skip

    def _wrong(self, field: str, reason: str) -> InvalidInput:
        return InvalidInput(f"line {self._number}: {field}", reason)


class Batch:
    """The sessions of one transaction. Messages are sent while more are read; sessions follow at the end."""

    def __init__(self, owner: str | None) -> None:
        self._owner = owner
        self._sessions: dict[str, _Session] = {}
        self._lines = 0
        self._characters = 0
        self._first = self.last = 0
        """The numbers of its first and last line."""
        self._unsent: list[Row] = []
        self.waiting = 0
        """Characters of the messages that are not sent yet."""
        self.is_whole = False
        """Whether all of its lines are read."""
        self.following: Batch | None = None
        """The next batch, which begins with the line that this one no longer took."""

    @property
    def place(self) -> str:
        """The lines of the batch, as an error names them."""
        return f"lines {self._first} to {self.last}"

    @property
    def messages(self) -> int:
        """The number of its messages."""
        return sum(session.count for session in self._sessions.values())

    def add(self, line: Line | None) -> None:
        """Add a line, or begin the next batch with it; None means that the file has ended."""
        if line is None or not self._takes(line):
            self.is_whole = True
            if line is not None:
                self.following = Batch(self._owner)
                self.following.add(line)
            return
        self._lines += 1
        self._first, self.last = self._first or line.number, line.number
        if line.is_session:
            self._characters += len(line.fields["metadata"])
            self._sessions[line.session_id] = _Session(line)
            return
        session = self._sessions.get(line.session_id)
        if session is None:
            session = self._sessions[line.session_id] = _Session(None)
        self._unsent.append(session.message(line))
        self.waiting += _EACH + len(line.fields["content"]) + len(line.fields["metadata"])

    def _takes(self, line: Line) -> bool:
        if line.session_id in self._sessions:
            return not line.is_session  # Exports may be concatenated: the session occurs again.
        return self._lines < MOST_LINES and self._characters < _MOST_CHARACTERS

    def take_unsent(self) -> list[Row]:
        """Return the messages that are not sent yet, for the caller to send."""
        unsent, self._unsent, self.waiting = self._unsent, [], 0
        return unsent

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the sessions; call this when the batch is whole."""
        return (session.row(session_id, self._owner) for session_id, session in self._sessions.items())


class Tally:
    """The outcome of all batches."""

    def __init__(self) -> None:
        self._sessions = self._messages = self._already_there = 0
        self._refused: dict[str, str] = {}
        self._last = 0
        self._known = [0.0, 0.0]
        """The planner's estimates of both tables' rows."""

    def add(self, outcome: tuple[int, int, int, list[str], list[str], float, float], batch: Batch) -> None:
        """Add the outcome of a batch."""
        self._last = batch.last
        sessions, messages, already_there, refused, reasons, *self._known = outcome
        self._sessions += sessions
        self._messages += messages
        self._already_there += already_there
        self._refused |= {one: _REASONS[why] for one, why in zip(refused, reasons, strict=True)}

    def explain(self, error: str) -> str:
        """Add to an error which lines are stored, and how to resume."""
        if not self._last:
            return error
        return f"{error}; lines 1 to {self._last} are stored: run the same import again to resume"

    @property
    def is_much(self) -> bool:
        """Whether a tenth of a table's rows are new: then autovacuum would analyze it, too."""
        added = self._sessions, self._messages
        return any(new and 10 * new >= known for new, known in zip(added, self._known, strict=True))

    def total(self, *, analyzed: bool = True) -> Imported:
        """Return the outcome of the import."""
        return Imported(self._sessions, self._messages, self._already_there, self._refused, analyzed)
