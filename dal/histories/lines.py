"""The lines of an import: joined from chunks, parsed, and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from reprlib import repr as short
from typing import Any, NamedTuple

from dal import validate
from dal.errors import InvalidInput
from dal.histories.parse import BYTE_ORDER_MARK, can_be_read, parsed, shown
from dal.records import STATUSES, Message, SessionRecord

MAX_LINE = 6 * validate.MAX_TOGETHER + 2**16
"""Bytes of a line: JSON may write a byte of content or metadata as six."""

MAX_BLANK = 2**16
"""Bytes of consecutive blank lines. A small compressed file can have billions of them."""

_SESSION = frozenset(SessionRecord.__match_args__)
_MESSAGE = frozenset(Message.__match_args__)
"""The fields of the two kinds of lines."""


class Line(NamedTuple):
    """A checked line of a session or a message."""

    number: int
    is_session: bool
    session_id: str
    fields: Mapping[str, Any]


class Lines:
    """The lines of one import. If there is an `owner`, all sessions must be that user's."""

    def __init__(self, owner: str | None, sanitize: validate.Sanitize) -> None:
        self._owner = owner
        self._sanitize = sanitize
        self._number = 0
        self._rest = bytearray()
        """The start of an incomplete line."""
        self._rest_is_whole = False
        self._blank = 0
        """Bytes of blank lines since the last line that was not blank."""

    def feed(self, chunk: object) -> Iterator[Line]:
        """Take a chunk: a line with or without its end, or any part of the file; yield the lines that it completes."""
        data = self._bytes(chunk)
        if self._rest_is_whole and data.lstrip(b" \t\r")[:1] not in {b"\n", b""}:
            yield from self.end()
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = self._ended(data[start:end])
            if line is not None:
                yield line
            start = end + 1
        if start < len(data):
            self._keep(data[start:])

    def end(self) -> Iterator[Line]:
        """Yield the last line, if it has no end."""
        if self._rest and (line := self._ended(b"")) is not None:
            yield line

    def _bytes(self, chunk: object) -> bytes:
        if isinstance(chunk, str):
            try:
                return chunk.encode()
            except UnicodeEncodeError:
                raise InvalidInput(
                    f"line {self._number + 1}", "holds a lone surrogate, which is no character"
                ) from None
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput("lines", f"must be bytes or str, not {type(chunk).__name__}")
        return bytes(chunk)

    def _keep(self, part: bytes) -> None:
        """Keep the start of a line. Only a line that is a whole chunk may have no end; others are parsed once."""
        if not self._rest:
            self._rest_is_whole = part.endswith(b"}") and can_be_read(part)
        elif not part.isspace():
            self._rest_is_whole = False
        self._rest += part
        self._check_length(self._number + 1, len(self._rest))

    def _ended(self, end: bytes) -> Line | None:
        """Parse the line that this completes; return None for a blank one."""
        text: bytes | bytearray = end
        if self._rest:
            self._rest += end
            text, self._rest, self._rest_is_whole = self._rest, bytearray(), False
        self._number += 1
        self._check_length(self._number, len(text))
        text = text.removeprefix(BYTE_ORDER_MARK)  # Some editors write one at the beginning of a file.
        if not text or text.isspace():
            self._count_blank(len(text) + 1)
            return None
        self._blank = 0
        try:
            return self._read(text)
        except InvalidInput as error:
            at = f"line {self._number}"
            where = f"{at}: {error.argument}" if error.argument else at
            raise InvalidInput(where, error.reason) from None

    @staticmethod
    def _check_length(number: int, size: int) -> None:
        if size > MAX_LINE:
            raise InvalidInput(f"line {number}", f"is longer than {MAX_LINE} bytes")

    def _count_blank(self, size: int) -> None:
        self._blank += size
        if self._blank > MAX_BLANK:
            raise InvalidInput(f"line {self._number}", f"more than {MAX_BLANK} bytes of blank lines in a row")

    def _read(self, text: bytes | bytearray) -> Line:
        read = parsed(text)
        kind, fields = next(iter(read.items())) if isinstance(read, dict) and len(read) == 1 else (None, None)
        if kind not in {"session", "message"} or not isinstance(fields, dict):
            raise InvalidInput("", 'must be {"session": {…}} or {"message": {…}}')
        is_session = kind == "session"
        unknown = fields.keys() - (_SESSION if is_session else _MESSAGE)
        if unknown:
            raise InvalidInput(shown(min(unknown)), f"is no field of a {kind}")
        if is_session:
            checked = self._session(fields)
        elif b"\\u" in text or not _is_plain(fields):
            checked = self._message(fields)
        else:
            fields["metadata"] = _metadata(fields["metadata"])
            fields["created_at"] = _moment("created_at", fields["created_at"])
            checked = fields
        return Line(self._number, is_session, checked["session_id"], checked)

    def _session(self, fields: dict[str, Any]) -> dict[str, Any]:
        status = fields.get("status", "active")
        if status not in STATUSES:
            raise InvalidInput("status", f"is {short(status)}; it must be one of {', '.join(STATUSES)}")
        agent_ids = fields.get("agent_ids")
        if agent_ids is not None and not isinstance(agent_ids, list):
            raise InvalidInput("agent_ids", f"must be a list, not {type(agent_ids).__name__}")
        checked = {
            "session_id": validate.identifier("session_id", fields.get("session_id")),
            "source": validate.optional_identifier("source", fields.get("source")),
            "user_id": validate.user(fields.get("user_id"), self._owner),
            "parent_id": validate.optional_identifier("parent_id", fields.get("parent_id")),
            "status": status,
            "next_sequence": _number("next_sequence", fields.get("next_sequence")),
            "message_count": _number("message_count", fields.get("message_count")),
            "agent_ids": agent_ids and [validate.identifier("agent_ids", one) for one in agent_ids],
            "metadata": _metadata(fields.get("metadata")),
            "created_at": _moment("created_at", fields.get("created_at")),
            "updated_at": _moment("updated_at", fields.get("updated_at")),
            "archived_at": _moment("archived_at", fields.get("archived_at")),
        }
        if (status == "archived") != (checked["archived_at"] is not None):
            raise InvalidInput("archived_at", f"must be given if the status is archived, and only then; it is {status}")
        if agent_ids is not None and status != "archived":
            raise InvalidInput("agent_ids", f"is kept for an archived session alone; the status is {status}")
        return checked

    def _message(self, fields: dict[str, Any]) -> dict[str, Any]:
        message_id = fields.get("message_id")
        checked = {
            "session_id": validate.identifier("session_id", fields.get("session_id")),
            "sequence": _number("sequence", fields.get("sequence")),
            "message_id": None if message_id is None else validate.identifier("message_id", message_id),
            "role": validate.identifier("role", fields.get("role")),
            "agent_id": validate.optional_identifier("agent_id", fields.get("agent_id")),
            "content": validate.content("content", fields.get("content"), self._sanitize),
            "metadata": _metadata(fields.get("metadata")),
            "created_at": _moment("created_at", fields.get("created_at")),
        }
        if message_id is None:
            checked["message_id"] = self._derived(fields)
        return checked

    def _derived(self, fields: dict[str, Any]) -> str:
        """Return an id for a message without one: the same whenever this file is imported."""
        told = json.dumps([self._number, fields], sort_keys=True)
        return sha256(told.encode()).hexdigest()[:32]


def _is_plain(fields: dict[str, Any]) -> bool:
    """Return whether the fields of a message need no closer check, as in most exports. This must be fast.

    The line has no escapes, so they cannot contain a NUL or a lone surrogate.
    """
    get, most = fields.get, validate.MAX_ID_LENGTH
    session_id, message_id, role, agent_id = get("session_id"), get("message_id"), get("role"), get("agent_id")
    content, sequence = get("content"), get("sequence")
    return (
        fields.keys() == _MESSAGE
        and type(session_id) is str
        and 0 < len(session_id) <= most
        and type(message_id) is str
        and 0 < len(message_id) <= most
        and type(role) is str
        and 0 < len(role) <= most
        and (agent_id is None or (type(agent_id) is str and 0 < len(agent_id) <= most))
        and type(content) is str
        and len(content) <= validate.MAX_CONTENT // 4
        and type(sequence) is int
        and 0 <= sequence <= validate.MAX_NUMBER
    )


def _metadata(value: object) -> str:
    return "{}" if value is None else validate.read_metadata("metadata", value)


def _number(argument: str, value: object) -> int | None:
    return None if value is None else validate.number(argument, value, least=0)


def _moment(argument: str, value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(argument, f"must be a time as text, not {type(value).__name__}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput(argument, "is not a time such as 2026-01-31T12:00:00.000001Z") from None
    return validate.moment(argument, moment)
