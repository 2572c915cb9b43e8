"""The records that the queries return, and the messages to append: frozen and slotted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

Status = Literal["active", "paused", "archived", "trashed"]
"""The status of a session. Archived is final; a trashed session can be restored."""

LISTED: tuple[Status, ...] = ("active", "paused", "archived")
"""The statuses of the sessions that lists show unless others are asked for."""

STATUSES: tuple[Status, ...] = (*LISTED, "trashed")

DELETED = "deleted"
"""The status of the row that a deleted session leaves. No method returns such a row."""

Metadata = Mapping[str, Any]
"""Metadata: a mapping of strings to any values that JSON has."""


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message."""

    session_id: str
    sequence: int
    message_id: str
    role: str
    agent_id: str | None
    content: str
    metadata: Metadata = field(hash=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RemovedMessage(Message):
    """A message that was removed from its session, and kept."""

    removed_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a session that is not an append.

    `revision` is the session's revision after it. `kind` is remove, replace, annotate, redact, metadata, pause, resume,
    archive, trash or restore. A change of messages has the number of the first and of the last one, and how many they
    are: the messages that a removal or a replacement took away.
    """

    revision: int
    kind: str
    first_sequence: int | None
    last_sequence: int | None
    messages: int
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to append. Without a message_id, it gets a ULID."""

    role: str
    content: str
    agent_id: str | None = None
    metadata: Metadata | None = field(default=None, hash=False)
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A stored session.

    `next_sequence` is the number of the next message. `message_count` is the number of stored messages, without removed
    ones. `agent_ids` is the cached list: None until the first `agent_ids()` after the session was archived. `revision`
    counts the changes other than appends. A fork has its parent's messages before `fork_point`.
    """

    session_id: str
    source: str | None
    user_id: str | None
    parent_id: str | None
    status: Status
    next_sequence: int
    message_count: int
    agent_ids: Sequence[str] | None
    metadata: Metadata = field(hash=False)
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    revision: int
    fork_point: int | None

    def __post_init__(self) -> None:
        if self.agent_ids is not None:
            # The driver reads an array as a list, which a frozen record must not hold.
            object.__setattr__(self, "agent_ids", tuple(self.agent_ids))


@dataclass(frozen=True, slots=True)
class ListedSession(SessionRecord):
    """A row of a list: a session and its place in the list."""

    place: datetime
    is_ahead: bool
    """Whether its place is in the future, and so before all others."""

    @property
    def record(self) -> SessionRecord:
        """Return the session alone."""
        return _session_alone(self)


def _session_alone(row: SessionRecord) -> SessionRecord:
    return SessionRecord(*[getattr(row, name) for name in SessionRecord.__match_args__])


@dataclass(frozen=True, slots=True)
class CreatedSession(SessionRecord):
    """The session that `create` stored or found; `is_same` is False if it has other values than the given ones."""

    is_same: bool

    @property
    def record(self) -> SessionRecord:
        """Return the session alone."""
        return _session_alone(self)


@dataclass(frozen=True, slots=True)
class Opened:
    """The start of a turn: the session's record, its latest messages, and its agents.

    If no such session is stored, the record is None and the others are empty.
    """

    record: SessionRecord | None
    messages: tuple[Message, ...]
    agent_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of sessions. Pass its cursor to get the next page; on the last page it is None."""

    sessions: tuple[SessionRecord, ...]
    cursor: str | None

    def __iter__(self) -> Iterator[SessionRecord]:
        return iter(self.sessions)

    def __len__(self) -> int:
        return len(self.sessions)


@dataclass(frozen=True, slots=True)
class CountedSessions:
    """The number of sessions with a status."""

    status: Status
    sessions: int


@dataclass(frozen=True, slots=True)
class Appended:
    """The outcome of an append; `is_same` is False if the message_id is stored with other content."""

    sequence: int
    created_at: datetime
    is_same: bool


@dataclass(frozen=True, slots=True)
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
class Purged:
    """The numbers of tombstones and removed messages that a purge deleted."""

    tombstones: int
    removed_messages: int

    def __bool__(self) -> bool:
        return bool(self.tombstones or self.removed_messages)


@dataclass(frozen=True, slots=True)
class ErasureStep:
    """The outcome of one step of an erasure: the sessions that it found, and what it deleted of them."""

    found: int
    sessions: int
    messages: int
    removed_messages: int
    forks: list[str]


@dataclass(frozen=True, slots=True)
class Erased:
    """The receipt of an erasure: how much was deleted.

    `forks` has the ids of other users' sessions that begin with messages of the deleted ones. They still have them.
    """

    sessions: int = 0
    messages: int = 0
    removed_messages: int = 0
    forks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relisted:
    """A session that was moved to the current time in lists."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The number of removed messages, or the reason why none was removed."""

    messages: int
    is_refused: bool
    """True if the session is archived, trashed or deleted, or has another next number than the given one."""
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

    `is_same` is False if a message that stays has its id. The others are as in Removed.
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
"""The columns of the session that have other names in such a row, beside those of the message."""

_session_of = attrgetter(*[_COLUMNS.get(name, name) for name in SessionRecord.__match_args__])
_message_of = attrgetter(*Message.__match_args__)


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """The version of the schema, and the oldest version whose releases can use it."""

    version: int
    usable_from: int


@dataclass(frozen=True, slots=True)
class SchemaFact:
    """A fact about a table, such as a column: the table, the kind, the name and the definition."""

    table_name: str
    kind: str
    name: str
    definition: str


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


@dataclass(frozen=True, slots=True)
class Imported:
    """The outcome of an import: new sessions, new messages, and messages that were already stored.

    `refused` has the sessions that could not take their missing messages, with the reasons. `analyzed` is False if a
    large import could not update the planner's statistics. Then run ANALYZE as the tables' owner, or statements may be
    slow until autovacuum does it.
    """

    sessions: int
    messages: int
    already_there: int
    refused: Mapping[str, str] = field(hash=False)
    analyzed: bool = True
