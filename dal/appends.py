"""Appends: the messages that one call stores in one session, and the statement that stores those of many calls.

A message passes through six modules between `session.append` and psycopg, each for one reason:

| module | why it is there |
|---|---|
| `dal._async.session` | the method that a service calls |
| `dal.appends` | checks the message once, and holds it until it is a `Message` |
| `dal._async.appending`, or `dal.writer` | sends it alone, or in a batch with others |
| `dal._async.runner` | takes a connection, sends again where that is safe, and calls the hook |
| `dal._async.queries` | runs a query file on a connection |
| `dal.sql.loader` | binds the parameters by their names |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any, NamedTuple, TypedDict

from dal import validate
from dal.errors import DalError, InvalidInput, MessageConflict
from dal.ids import new_id
from dal.records import Message, Metadata, NewMessage
from dal.rows import Appended, AppendedOne, ReplacedRow


@dataclass(slots=True, eq=False)
class CheckedMessage:
    """A message that PostgreSQL can store."""

    role: str
    content: str
    agent_id: str | None
    metadata: Metadata | None
    json_metadata: str
    message_id: str

    @property
    def size(self) -> int:
        """Bytes of content and metadata."""
        return validate.size(self.content) + validate.size(self.json_metadata)

    def stored(self, session_id: str, row: Appended | AppendedOne | ReplacedRow) -> Message:
        """Return the message as it is stored, by the row that the statement returned for it."""
        return Message(
            session_id,
            row.sequence,
            self.message_id,
            self.role,
            self.agent_id,
            self.content,
            {**self.metadata} if self.metadata else {},
            row.created_at,
        )


def check_message(  # noqa: PLR0913 - a message's fields
    role: str,
    content: str,
    agent_id: str | None,
    metadata: Metadata | None,
    message_id: str | None,
    *,
    sanitize: validate.Sanitize,
) -> CheckedMessage:
    """Check the fields of a message."""
    return CheckedMessage(
        validate.identifier("role", role),
        validate.content("content", content, sanitize),
        None if agent_id is None else validate.identifier("agent_id", agent_id),
        metadata,
        "{}" if metadata is None else validate.metadata("metadata", metadata),
        new_id() if message_id is None else validate.identifier("message_id", message_id),
    )


def check_new(argument: str, new: NewMessage, sanitize: validate.Sanitize) -> CheckedMessage:
    """Check a message that was given as an object, in an argument such as "messages[0]"."""
    try:
        return check_message(new.role, new.content, new.agent_id, new.metadata, new.message_id, sanitize=sanitize)
    except InvalidInput as error:
        raise InvalidInput(f"{argument}.{error.argument}", error.reason) from None


def check_call(argument: str, messages: Sequence[CheckedMessage], session_ids: Sequence[str] | None = None) -> None:
    """Check the messages of one call: different ids in each session, and not too large in sum."""
    of = session_ids or repeat("", len(messages))
    ids = Counter(zip(of, (one.message_id for one in messages), strict=True))
    (_, twice), times = next(iter(ids.most_common(1)), (("", ""), 0))
    if times > 1:
        raise InvalidInput(argument, f"has the message_id {twice!r} twice")
    size = sum(one.size for one in messages)
    if size > validate.MAX_TOGETHER:
        raise InvalidInput(argument, f"has {size} bytes of content and metadata; {validate.MAX_TOGETHER} is the most")


class Opening(TypedDict):
    """The columns of a session that are stored with its first message, as parameters of the statements."""

    session_id: str
    owner: str | None
    """The user to whom the store is confined."""
    source: str | None
    user_id: str | None
    parent_id: str | None
    session_metadata: str


class Conditions(NamedTuple):
    """The conditions of an append, and the session metadata that it merges."""

    if_next: int | None = None
    must_exist: bool = False
    json_session_changes: str | None = None

    @property
    def are_own(self) -> bool:
        """True if the append must be sent in a statement of its own."""
        return self.if_next is not None or self.json_session_changes is not None

    @property
    def creates_none(self) -> bool:
        """True if the append may not create the session: it must exist, or if_next is above 0."""
        return self.must_exist or bool(self.if_next)


UNCONDITIONAL = Conditions()


@dataclass(slots=True, eq=False)
class Target:
    """A session to append to, and the conditions. A session object keeps one for its appends."""

    opening: Opening
    conditions: Conditions = UNCONDITIONAL
    template: list[Any] | None = None
    """The bound values of the statement for one message, without those of the message; None until they are needed."""


@dataclass(slots=True, eq=False)
class Append:
    """The messages that one call stores in one session, all or none; once sent, the outcome too."""

    target: Target
    messages: Sequence[CheckedMessage]
    rows: Sequence[Any] = ()
    """The row that the statement returned for each message, None for a refused one; empty before it was sent."""
    error: DalError | None = None
    """The error of the statement with its messages, if other appends of the same call were in other statements."""
    token: Any = None
    """The hook's token for it, if a writer sends it."""

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        return self.target.opening["session_id"]

    @property
    def owner(self) -> str | None:
        """The user to whom its store is confined."""
        return self.target.opening["owner"]

    @property
    def conditions(self) -> Conditions:
        """Its conditions."""
        return self.target.conditions

    @property
    def query(self) -> str:
        """The query file that stores it."""
        return "messages.append" if len(self.messages) == 1 else "messages.append_all"

    @property
    def message_ids(self) -> tuple[str, ...]:
        """The ids that it is sent with, and that make it safe to repeat."""
        return tuple([message.message_id for message in self.messages])

    @property
    def characters(self) -> int:
        """About how large it is."""
        return sum([len(message.content) + len(message.json_metadata) for message in self.messages])

    @property
    def conflict(self) -> MessageConflict | None:
        """The error if the session holds one of its messages with other content."""
        for message, row in zip(self.messages, self.rows, strict=False):
            if row is not None and not row.is_same:
                return MessageConflict(
                    f"session {self.session_id!r} holds a message {message.message_id!r} with other content; give a "
                    "message another id, or none, unless it is the same again",
                    query=self.query,
                )
        return None

    @property
    def is_stored(self) -> bool:
        """True if all messages are stored as they were given; otherwise nothing new is."""
        for row in self.rows:
            if row is None or not row.is_same:
                return False
        return self.rows != ()

    @property
    def stored(self) -> tuple[Message, ...]:
        """The messages as they are stored, once they are."""
        pairs = zip(self.messages, self.rows, strict=True)
        return tuple([message.stored(self.session_id, row) for message, row in pairs])


def batch_parameters(appends: Sequence[Append], patience: float | None = None) -> dict[str, Any]:
    """Return the parameters of the one statement that stores several appends: all confined to their users, or none.

    The sessions are sorted, so that no two statements lock them in different orders. The statement waits for a locked
    one at most `patience` seconds. An append with conditions of its own is sent alone.
    """
    firsts: dict[str, Append] = {}
    for append in appends:
        firsts.setdefault(append.session_id, append)
    sessions = [firsts[session_id] for session_id in sorted(firsts)]
    openings, conditions = [one.target.opening for one in sessions], appends[0].conditions
    places = {one.session_id: str(place) for place, one in enumerate(sessions, 1)}
    calls = [(str(call), append) for call, append in enumerate(appends)]
    messages = [message for append in appends for message in append.messages]
    return {
        "session_ids": _array(places),
        "sources": _array([one["source"] for one in openings]),
        "user_ids": _array([one["user_id"] for one in openings]),
        "parent_ids": _array([one["parent_id"] for one in openings]),
        "session_metadata": _array([one["session_metadata"] for one in openings]),
        "must_exist": _unquoted(["t" if one.conditions.creates_none else "f" for one in sessions]),
        "confined": appends[0].owner is not None,
        "patience": None if patience is None else f"{patience * 1000:.0f}ms",
        "if_next": conditions.if_next,
        "session_changes": conditions.json_session_changes,
        "places": _unquoted([places[append.session_id] for append in appends for _ in append.messages]),
        "calls": _unquoted([call for call, append in calls for _ in append.messages]),
        **message_columns(messages),
    }


def message_columns(messages: Sequence[CheckedMessage]) -> dict[str, Any]:
    """Return the parameters of a statement that stores several messages: an array per column."""
    return {
        "message_ids": _array([one.message_id for one in messages]),
        "roles": _array([one.role for one in messages]),
        "agent_ids": _array([one.agent_id for one in messages]),
        "contents": _array([one.content for one in messages]),
        "metadata": _array([one.json_metadata for one in messages]),
    }


def _unquoted(elements: Iterable[str]) -> str:
    """Write an array of numbers or booleans as PostgreSQL reads it."""
    return "{" + ",".join(elements) + "}"


def _array(elements: Iterable[str | None]) -> str:
    """Write an array as PostgreSQL reads it, in a sixth of the time that the driver takes for a list.

    None is written as '': with array_nulls off, the server would read NULL as a text.
    """
    listed = ["" if one is None else one for one in elements]
    plain = '","'.join(listed)
    if plain.count('"') == 2 * len(listed) - 2 and "\\" not in plain:
        return '{"' + plain + '"}'
    return "{" + ",".join(['"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in listed]) + "}"


def distribute_rows(appends: Sequence[Append], rows: Iterable[AppendedOne | ReplacedRow]) -> None:
    """Hand each append its rows of that statement."""
    by_position = {row.position: row for row in rows}
    position = count(1)
    for append in appends:
        append.rows = [by_position.get(next(position)) for _ in append.messages]
