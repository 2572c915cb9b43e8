"""Appends: what one call stores in one session, and how the appends of many calls make one statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dal.errors import MessageConflict
from dal.records import Appended, AppendedOne, Message, Metadata


class Append:
    """What one call stores in one session, all or none; and, once it was sent, what became of it."""

    __slots__ = ("_metadata", "message_ids", "messages", "opening", "owner", "query", "rows", "session_id", "token")

    def __init__(
        self,
        session_id: str,
        owner: str | None,
        opening: Mapping[str, Any],
        checked: Sequence[Mapping[str, Any]],
        metadata: Sequence[Metadata | None],
    ) -> None:
        self.session_id = session_id
        self.owner = owner
        self.opening = opening
        """What the session is stored with if this is its first."""
        self.messages = checked
        """The parameters of each message, by name."""
        self.message_ids = tuple([message["message_id"] for message in checked])
        """The ids that it is sent with, and that make it safe to repeat."""
        self.query = "messages.append" if len(checked) == 1 else "messages.append_all"
        """The query file that stores it."""
        self.rows: dict[int, Appended | AppendedOne] = {}
        """What the statement gave, by the message's place; none for those that were refused."""
        self._metadata = metadata
        self.token: Any = None
        """What the hook knows it by, if it is given to a writer."""

    @property
    def characters(self) -> int:
        """About how large it is."""
        return sum([len(message["content"]) + len(message["metadata"]) for message in self.messages])

    @property
    def is_stored(self) -> bool:
        """Whether all of it is stored as it was given; otherwise nothing new is."""
        return len(self.rows) == len(self.messages) and all(row.is_same for row in self.rows.values())

    @property
    def conflict(self) -> MessageConflict | None:
        """What is wrong if one of its messages is there already, with other content."""
        for n, row in self.rows.items():
            if not row.is_same:
                return MessageConflict(
                    f"session {self.session_id!r} holds a message {self.messages[n]['message_id']!r} with other "
                    "content; give a message another id, or none, unless it is the same again",
                    query=self.query,
                )
        return None

    @property
    def stored(self) -> tuple[Message, ...]:
        """The messages as they are stored."""
        return tuple(
            [
                Message(
                    self.session_id,
                    (row := self.rows[n]).sequence,
                    one["message_id"],
                    one["role"],
                    one["agent_id"],
                    one["content"],
                    dict(self._metadata[n] or ()),
                    row.created_at,
                )
                for n, one in enumerate(self.messages)
            ]
        )


def together(appends: Sequence[Append], patience: float | None = None) -> dict[str, Any]:
    """Give the parameters of the one statement that stores them: all confined to their users, or none.

    The sessions are sorted, so that no two statements lock them in different orders. It waits for one that is
    locked as many seconds as it has patience.
    """
    firsts: dict[str, Append] = {}
    for append in appends:
        firsts.setdefault(append.session_id, append)
    places = {session_id: str(place) for place, session_id in enumerate(sorted(firsts), 1)}
    openings = [firsts[session_id].opening for session_id in places]
    calls = [(str(call), append) for call, append in enumerate(appends)]
    messages = [message for append in appends for message in append.messages]
    return {
        "session_ids": _array(places),
        "sources": _array([one["source"] for one in openings]),
        "user_ids": _array([one["user_id"] for one in openings]),
        "parent_ids": _array([one["parent_id"] for one in openings]),
        "session_metadata": _array([one["session_metadata"] for one in openings]),
        "confined": appends[0].owner is not None,
        "patience": None if patience is None else f"{patience * 1000:.0f}ms",
        "places": _numbers([places[append.session_id] for append in appends for _ in append.messages]),
        "calls": _numbers([call for call, append in calls for _ in append.messages]),
        "message_ids": _array([one["message_id"] for one in messages]),
        "roles": _array([one["role"] for one in messages]),
        "agent_ids": _array([one["agent_id"] for one in messages]),
        "contents": _array([one["content"] for one in messages]),
        "metadata": _array([one["metadata"] for one in messages]),
    }


def _numbers(elements: Iterable[str]) -> str:
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


def share(appends: Sequence[Append], rows: Sequence[AppendedOne]) -> None:
    """Give each append its rows of that statement."""
    whose = [(append, n) for append in appends for n in range(len(append.messages))]
    for row in rows:
        append, n = whose[row.position - 1]
        append.rows[n] = row
