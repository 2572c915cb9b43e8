"""The lines of an import: split from chunks, parsed and checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from hashlib import sha256
from reprlib import repr as short
from typing import Any, NamedTuple

from dal import validate
from dal.errors import InvalidInput
from dal.histories.parse import BYTE_ORDER_MARK, can_be_read, parsed, shown
from dal.records import LISTED, STATUSES

MAX_LINE = 6 * validate.MAX_TOGETHER + 2**16
"""Bytes of a line: JSON may write a byte of content or metadata as six."""

MAX_BLANK = 2**16
"""Bytes of consecutive blank lines. A small compressed file can have billions of them."""

Checks = Mapping[str, Callable[[str, Any], Any]]
"""The fields of a line, and the check of each, which returns the value to store."""


class Line(NamedTuple):
    """A checked line of a session or a message."""

    number: int
    is_session: bool
    session_id: str
    fields: Mapping[str, Any]


class Lines:
    """The lines of one import. With an `owner`, every session must belong to that user."""

    def __init__(self, owner: str | None, sanitize: validate.Sanitize) -> None:
        self._checks = {"session": _checks_of_a_session(owner), "message": _checks_of_a_message(sanitize)}
        self._number = 0
        self._rest = bytearray()
        """The start of a line whose end has not been fed yet."""
        self._rest_is_whole = False
        """Whether that start is a complete JSON value, so that only the line end is missing."""
        self._blank = 0
        """Bytes of blank lines since the last line that was not blank."""

    def feed(self, chunk: object) -> Iterator[Line]:
        """Yield the lines that a chunk completes: it is a line with or without its end, or any part of the file."""
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
        """Yield the last line if it has no line end."""
        if self._rest and (line := self._ended(b"")) is not None:
            yield line

    def _bytes(self, chunk: object) -> bytes:
        if isinstance(chunk, str):
            try:
                return chunk.encode()
            except UnicodeEncodeError:
                raise InvalidInput(
                    f"line {self._number + 1}", "holds a lone surrogate, which is not a character"
                ) from None
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput("lines", f"must be bytes or str, not {type(chunk).__name__}")
        return bytes(chunk)

    def _keep(self, part: bytes) -> None:
        """Keep the start of a line.

        A line may lack its line end if it is a chunk of its own. Only such a chunk is parsed here, to see if it is one.
        """
        if not self._rest:
            self._rest_is_whole = part.endswith(b"}") and can_be_read(part)
        elif not part.isspace():
            self._rest_is_whole = False
        self._rest += part
        self._check_length(self._number + 1, len(self._rest))

    def _ended(self, end: bytes) -> Line | None:
        """Return the line that `end` completes, checked; None if it is blank."""
        text: bytes | bytearray = end
        if self._rest:
            self._rest += end
            text, self._rest, self._rest_is_whole = self._rest, bytearray(), False
        self._number += 1
        self._check_length(self._number, len(text))
        text = text.removeprefix(BYTE_ORDER_MARK)  # Some editors begin a file with one.
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
        value = parsed(text)
        kind, fields = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else ("", None)
        if kind not in self._checks or not isinstance(fields, dict):
            raise InvalidInput("", 'must be {"session": {…}} or {"message": {…}}')
        checks = self._checks[kind]
        if unknown := fields.keys() - checks.keys():
            raise InvalidInput(shown(min(unknown)), f"is not a field of a {kind}")
        if kind == "session":
            fields.setdefault("status", "active")
        checked = {name: check(name, fields.get(name)) for name, check in checks.items()}
        if kind == "session":
            _check_status(checked)
        elif checked["message_id"] is None:
            checked["message_id"] = self._derived_id(fields)
        return Line(self._number, kind == "session", checked["session_id"], checked)

    def _derived_id(self, fields: dict[str, Any]) -> str:
        """Return the id of a message without one: the same each time this file is imported."""
        identity = json.dumps([self._number, fields], sort_keys=True)
        return sha256(identity.encode()).hexdigest()[:32]


def _checks_of_a_session(owner: str | None) -> Checks:
    return {
        "session_id": validate.identifier,
        "source": validate.optional_identifier,
        "user_id": lambda _, user_id: validate.user(user_id, owner),
        "parent_id": validate.optional_identifier,
        "status": _status,
        "next_sequence": _number,
        "message_count": _number,
        "agent_ids": _agent_ids,
        "metadata": _metadata,
        "created_at": _moment,
        "updated_at": _moment,
        "archived_at": _moment,
        "revision": _number,
        "fork_point": _number,
        "trashed_from": _trashed_from,
    }


def _checks_of_a_message(sanitize: validate.Sanitize) -> Checks:
    return {
        "session_id": validate.identifier,
        "sequence": _number,
        "message_id": validate.optional_identifier,
        "role": validate.identifier,
        "agent_id": validate.optional_identifier,
        "content": partial(validate.content, sanitize=sanitize),
        "metadata": _metadata,
        "created_at": _moment,
    }


def _check_status(session: dict[str, Any]) -> None:
    status, before = session["status"], session["trashed_from"]
    if (status == "trashed") != (before is not None):
        raise InvalidInput("trashed_from", f"must be given if and only if the status is trashed; it is {status}")
    status = before or status
    if (status == "archived") != (session["archived_at"] is not None):
        raise InvalidInput("archived_at", f"must be given if and only if the status is archived; it is {status}")
    if session["agent_ids"] is not None and status != "archived":
        raise InvalidInput("agent_ids", f"must be null unless the status is archived; it is {status}")


def _status(argument: str, value: object) -> object:
    if value not in STATUSES:
        raise InvalidInput(argument, f"is {short(value)}; it must be one of {', '.join(STATUSES)}")
    return value


def _trashed_from(argument: str, value: object) -> object:
    if value is not None and value not in LISTED:
        raise InvalidInput(argument, f"is {short(value)}; it must be one of {', '.join(LISTED)}")
    return value


def _agent_ids(argument: str, value: object) -> list[str] | None:
    if value is not None and not isinstance(value, list):
        raise InvalidInput(argument, f"must be a list, not {type(value).__name__}")
    return value and [validate.identifier(argument, one) for one in value]


def _metadata(argument: str, value: object) -> str:
    return "{}" if value is None else validate.read_metadata(argument, value)


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
