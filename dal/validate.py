"""Checks of arguments, made before anything is sent. Each raises InvalidInput naming the argument."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from dal.errors import InvalidInput
from dal.records import STATUSES, NewMessage, Status

MAX_ID_LENGTH = 255
"""Characters in an id, a role or a source: two of them must fit into one page of an index."""

MAX_NUMBER = 2**63 - 2
"""What a bigint holds, less one: a page is asked for with one row more than it shows."""

MAX_CONTENT = 16 * 2**20
"""Bytes of a message's content. The server holds a message several times over while it stores it, and a page of
larger ones would need more memory than a small server has."""

MAX_METADATA = 4 * 2**20
"""Bytes of metadata as JSON. Numbers such as 5e-324 come back fifty times as long, and a row must fit into 1 GB."""

MAX_TOGETHER = MAX_CONTENT + MAX_METADATA
"""Bytes of content and metadata in one call: as many as one message may have."""

MAX_DEPTH = 100
"""Levels of lists and mappings in metadata: each takes a level of Python's stack again when it is read."""

MAX_DIGITS = 4300
"""Digits of a whole number in metadata: Python reads no more, unless it is told to."""

MAX_WAITING = 1_000_000
"""How many a writer may let wait: each needs memory."""

MAX_SECONDS = 2_000_000
"""Of a timeout: the server takes milliseconds as 32 bits."""

MAX_MANY = 10_000
"""Messages or ids in one call: other writers of the session wait until all of them are stored."""

Sanitize = Literal["replace"] | None
"""What to do with content that PostgreSQL cannot store: refuse it, or replace what it cannot."""

_dumped = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_TEXT_OR_NUMBER = re.compile(
    # In this order; a number is looked at from its beginning alone, or a long one would take its length squared.
    rf'"(?:[^"\\]++|\\.)*+"|(?<![\d.])(?:(?P<power>-?[\d.]++e\+\d++)|(?P<long>\d{{{MAX_DIGITS + 1}}}))'
)
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def text(argument: str, value: object) -> str:
    """Any text that PostgreSQL can store."""
    if not isinstance(value, str):
        raise InvalidInput(argument, f"must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise InvalidInput(argument, "holds a NUL character, which PostgreSQL cannot store; remove it")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                argument, f"holds a lone surrogate at position {error.start}, which is not a character; remove it"
            ) from None
    # Not a subclass, which an enum may be: the driver sends a list of one type alone.
    return value if type(value) is str else str.__str__(value)


def content(argument: str, value: object, sanitize: Sanitize) -> str:
    """A message's content, made storable if the store was asked to."""
    if sanitize == "replace" and isinstance(value, str):
        value = value.replace("\0", "\ufffd")
        if not value.isascii():
            value = re.sub("[\ud800-\udfff]", "\ufffd", value)
    checked = text(argument, value)
    if (length := size(checked)) > MAX_CONTENT:
        raise InvalidInput(
            argument, f"has {length} bytes; {MAX_CONTENT} is the most: keep it elsewhere, and a link here"
        )
    return checked


def sanitize(argument: str, value: Sanitize) -> Sanitize:
    """Whether content is replaced or refused."""
    if value is not None and value != "replace":
        raise InvalidInput(argument, f'is {value!r}; it must be "replace" or None')
    return value


def identifier(argument: str, value: object) -> str:
    """An id, a role or a source: a text that is neither empty nor too long for the indexes."""
    checked = text(argument, value)
    if not checked:
        raise InvalidInput(argument, "is empty")
    if len(checked) > MAX_ID_LENGTH:
        raise InvalidInput(argument, f"has {len(checked)} characters; {MAX_ID_LENGTH} is the most")
    return checked


def optional_identifier(argument: str, value: object) -> str | None:
    """As identifier, or None."""
    return None if value is None else identifier(argument, value)


def user(user_id: object, owner: str | None) -> str | None:
    """Check a user's id, which is the owner's by default, and no other's, where the store is confined to one."""
    checked = optional_identifier("user_id", user_id)
    if owner is not None and checked not in {None, owner}:
        raise InvalidInput("user_id", f"is {checked!r}, and this store is confined to user {owner!r}")
    return owner or checked


def metadata(argument: str, value: object) -> str:
    """Metadata as JSON, of which what is read back equals what was given."""
    if not isinstance(value, Mapping):
        raise InvalidInput(argument, f"must be a mapping, not {type(value).__name__}")
    given = dict(value)
    dumped = read_metadata(argument, given)
    if dumped != "{}" and json.loads(dumped) != given:
        raise InvalidInput(argument, "would not be read back as it is: use lists for tuples, and strings for keys")
    return dumped


def read_metadata(argument: str, value: object) -> str:
    """As metadata, of what was read as JSON, and so is read back as it is."""
    if not isinstance(value, dict):
        raise InvalidInput(argument, f"must be a mapping, not {type(value).__name__}")
    if not value:
        return "{}"
    try:
        dumped = _dumped(value)
        dumped.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(argument, f"is not JSON: {error}") from None
    if _ESCAPED_NUL.search(dumped):
        raise InvalidInput(argument, "holds a NUL character, which PostgreSQL cannot store; remove it")
    if dumped.count("{") + dumped.count("[") > MAX_DEPTH and _is_too_deep(value):
        raise InvalidInput(argument, f"is more than {MAX_DEPTH} levels deep")
    if "e+" in dumped or len(dumped) > MAX_DIGITS:
        dumped = _TEXT_OR_NUMBER.sub(partial(_readable, argument), dumped)
    if (length := size(dumped)) > MAX_METADATA:
        raise InvalidInput(argument, f"has {length} bytes as JSON; {MAX_METADATA} is the most")
    return dumped


def optional_metadata(argument: str, value: object) -> str:
    """As metadata; None is an empty object."""
    return "{}" if value is None else metadata(argument, value)


def number(argument: str, value: object, *, least: int, most: int = MAX_NUMBER) -> int:
    """A whole number from `least` to `most`, by default what a bigint holds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(argument, f"must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidInput(argument, f"is {value}; it must be from {least} to {most}")
    return int(value)  # Not a subclass, as with text.


def seconds(argument: str, value: float | None) -> float | None:
    """A duration above 0 that the server can keep, or None."""
    if value is not None and not (isinstance(value, int | float) and 0 < value <= MAX_SECONDS):
        raise InvalidInput(argument, f"must be None, or above 0 and at most {MAX_SECONDS} seconds; got {value!r}")
    return value


def moment(argument: str, value: object) -> datetime:
    """A point in time: a datetime with a time zone."""
    if not isinstance(value, datetime):
        raise InvalidInput(argument, f"must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidInput(argument, "has no time zone; use datetime.now(timezone.utc) and its like")
    try:
        return value.astimezone(UTC)  # PostgreSQL knows no offset with fractions of a second.
    except OverflowError:
        raise InvalidInput(argument, "lies outside of the years 1 to 9999") from None


def statuses(argument: str, value: Status | None) -> list[str]:
    """The statuses that a listing wants: one, or all for None."""
    if value is None:
        return list(STATUSES)
    if value not in STATUSES:
        raise InvalidInput(argument, f"is {value!r}; it must be one of {', '.join(STATUSES)}")
    return [value]


def identifiers(argument: str, value: Collection[str]) -> list[str]:
    """Several ids, each once, in their order."""
    several = _many(argument, value, "ids")
    return list(dict.fromkeys(identifier(f"{argument}[{n}]", one) for n, one in enumerate(several)))


def new_messages(argument: str, value: Iterable[NewMessage]) -> list[NewMessage]:
    """Several messages to be appended; their fields are checked apart."""
    several = _many(argument, value, "messages")
    for n, one in enumerate(several):
        if not isinstance(one, NewMessage):
            raise InvalidInput(f"{argument}[{n}]", f"must be a NewMessage, not {type(one).__name__}")
    return several


def pairs(argument: str, value: Iterable[tuple[Any, NewMessage]]) -> list[tuple[Any, NewMessage]]:
    """Several messages to be appended, each with its session; the messages' fields are checked apart."""
    several = _many(argument, value, "messages")
    for n, one in enumerate(several):
        if not isinstance(one, tuple) or len(one) != 2 or not isinstance(one[1], NewMessage):  # noqa: PLR2004
            raise InvalidInput(f"{argument}[{n}]", "must be a tuple of a session and a NewMessage")
    return several


def cursor(argument: str, value: str | None) -> tuple[str, str]:
    """Read a page's cursor as (place, session_id); None is the first page's."""
    if value is None:
        return "infinity", ""
    moment_text, separator, session_id = text(argument, value).partition("/")
    try:
        place = moment(argument, datetime.fromisoformat(moment_text)) if separator else None
    except ValueError:
        place = None
    if place is None:
        raise InvalidInput(argument, "is not a cursor; use the cursor of the page before, as it is")
    # Not as it was given: Python reads forms that PostgreSQL does not, such as 2026-W01-1.
    return place.isoformat(), identifier(argument, session_id)


def make_cursor(place: datetime, session_id: str) -> str:
    """Write the cursor that asks for what follows this session."""
    return f"{place.isoformat()}/{session_id}"


def _many(argument: str, value: object, of: str) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidInput(argument, f"must be a list of {of}, not one {type(value).__name__}")
    several = list(value)
    if len(several) > MAX_MANY:
        raise InvalidInput(argument, f"has {len(several)} {of}; {MAX_MANY} at once is the most")
    return several


def size(value: str) -> int:
    """Bytes of a text as PostgreSQL stores it."""
    return len(value) if value.isascii() else len(value.encode())


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer))
        level = [one for one in inner if isinstance(one, dict | list)]
    return bool(level)


def _readable(argument: str, found: re.Match[str]) -> str:
    """Write a number so that it comes back as what it is; texts stay as they are.

    PostgreSQL keeps the value and the digits after the point: 1e+23 would come back as an int, and as
    another number than the float, whose exact value is not ten to the power of 23.
    """
    if found["long"]:
        raise InvalidInput(argument, f"holds a number of more than {MAX_DIGITS} digits")
    return f"{float(found['power']):.1f}" if found["power"] else found[0]
