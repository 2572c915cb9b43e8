"""The rows of statements whose columns are not those of a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from dal.records import Message, Metadata, SessionRecord, Status


@dataclass(frozen=True, slots=True)
class _SessionRow(SessionRecord):
    """A session with more columns."""

    @property
    def record(self) -> SessionRecord:
        """The session, without the other columns."""
        return SessionRecord(*[getattr(self, name) for name in SessionRecord.__match_args__])


@dataclass(frozen=True, slots=True)
class ListedSession(_SessionRow):
    """A row of a list: a session and its place in the list."""

    place: datetime
    is_ahead: bool
    """True if its place is in the future: then it comes before all others."""


@dataclass(frozen=True, slots=True)
class CreatedSession(_SessionRow):
    """The session that `create` stored or found; `is_same` is False if it has other values than the given ones."""

    is_same: bool


@dataclass(frozen=True, slots=True)
class Position:
    """How far a session is: its next number, and its revision. Both only rise."""

    next_sequence: int
    revision: int

    def covers(self, other: Position) -> bool:
        """Return whether a session that is this far has everything that one at the other position has."""
        return self.next_sequence >= other.next_sequence and self.revision >= other.revision

    def merged(self, other: Position) -> Position:
        """Return the position that covers both."""
        return Position(max(self.next_sequence, other.next_sequence), max(self.revision, other.revision))


@dataclass(frozen=True, slots=True)
class CountedSessions:
    """The number of sessions with a status."""

    status: Status
    sessions: int


@dataclass(slots=True)  # Not frozen: that would cost each append 0.3 µs.
class Appended:
    """The outcome of an append; `is_same` is False if the message_id is stored with other content."""

    sequence: int
    created_at: datetime
    is_same: bool


@dataclass(slots=True)  # Not frozen, like Appended.
class AppendedOne:
    """The outcome of one of several appends, by its position from 1."""

    position: int
    sequence: int
    created_at: datetime
    is_same: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deleted session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class IdleSession:
    """An idle session that was deleted, or the first one if none was."""

    session_id: str
    is_deleted: bool
    next_sequence: int | None
    """Set if it has more messages than one statement may delete."""


@dataclass(frozen=True, slots=True)
class DeletedRange:
    """The number of messages that were deleted."""

    messages: int


@dataclass(frozen=True, slots=True)
class ErasureStep:
    """The outcome of one step of an erasure: how many sessions it found, and what it deleted."""

    found: int
    sessions: int
    messages: int
    removed_messages: int
    forks: list[str]
    first_id: str | None
    """The first session that it found; None if it found none."""
    next_sequence: int | None
    """Set if that has more messages than one statement may delete. Then nothing was deleted."""


@dataclass(frozen=True, slots=True)
class Relisted:
    """A session that was moved to the current time in lists."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The number of removed messages, or the reason why none was removed."""

    messages: int
    is_refused: bool
    """True if the session is archived, trashed or deleted, or its next number is not `if_next`."""
    is_stale: bool
    """True if another change came first. Then this statement changed nothing, and must be sent again."""


@dataclass(frozen=True, slots=True)
class RemovedRow(Removed):
    """A removed message, with the outcome of the removal; the columns of the message may all be null."""

    session_id: str
    sequence: int
    message_id: str
    role: str
    agent_id: str | None
    content: str
    metadata: Metadata = field(hash=False)
    created_at: datetime

    @property
    def message(self) -> Message:
        """The message of the row, if there is one."""
        return Message(*_message_of(self))


@dataclass(frozen=True, slots=True)
class ReplacedRow:
    """A new message, with the outcome of the replacement; the columns of the message may all be null.

    `is_same` is False if a message that was not removed has the same id. The other fields are as in `Removed`.
    """

    is_refused: bool
    is_stale: bool
    position: int
    sequence: int
    created_at: datetime
    is_same: bool


@dataclass(frozen=True, slots=True)
class OpenedRow:
    """A message with its session; only the last row has the session's large columns."""

    session_id: str
    source: str | None
    user_id: str | None
    parent_id: str | None
    status: Status
    next_sequence: int
    message_count: int
    cached: Sequence[str] | None
    session_metadata: Metadata = field(hash=False)
    session_created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    revision: int
    fork_point: int | None
    agent_ids: list[str]
    sequence: int
    message_id: str
    role: str
    agent_id: str | None
    content: str
    metadata: Metadata = field(hash=False)
    created_at: datetime

    @property
    def record(self) -> SessionRecord:
        """The session, from the last row."""
        return SessionRecord(*_session_of(self))

    @property
    def message(self) -> Message:
        """The message of the row, if there is one."""
        return Message(*_message_of(self))


_COLUMNS = {"agent_ids": "cached", "metadata": "session_metadata", "created_at": "session_created_at"}
"""The names of the session's columns in an OpenedRow that differ, since the message has columns of these names."""

_session_of = attrgetter(*[_COLUMNS.get(name, name) for name in SessionRecord.__match_args__])
_message_of = attrgetter(*Message.__match_args__)


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The version of the schema, and the oldest version whose releases can use it."""

    version: int
    usable_from: int


@dataclass(frozen=True, slots=True)
class SchemaFact:
    """A fact about a table, such as the definition of a column."""

    table_name: str
    kind: str
    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A rule, and the row that breaks it: a message if `sequence` is set, otherwise the session."""

    rule: str
    session_id: str
    sequence: int | None


@dataclass(frozen=True, slots=True)
class SearchPath:
    """A connection's search_path."""

    search_path: str


@dataclass(frozen=True, slots=True)
class SessionAgents:
    """A session's agents, in order of first appearance."""

    session_id: str
    agent_ids: list[str]


@dataclass(frozen=True, slots=True)
class ExportedSession:
    """A session's line of an export, and its place in the order of pages."""

    session_id: str
    listed_at: datetime
    messages: int
    """The number of its messages."""
    line: str


@dataclass(slots=True)  # Not frozen: that would take a fifth of an export's time.
class ExportedMessage:
    """A message of an export."""

    session_id: str
    sequence: int
    message_id: str
    role: str
    agent_id: str | None
    content: str
    json_metadata: str
    iso_created_at: str
    is_last: bool
    """False if the page ended before the last message that was asked for."""
