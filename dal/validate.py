"""Checks of arguments, before anything is sent. Each raises InvalidInput with the name of the argument."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from dal.errors import InvalidInput
from dal.records import LISTED, STATUSES, NewMessage, Status

MAX_ID_LENGTH = 255
"""Characters in an id, a role or a source: two of them must fit into one page of an index."""

MAX_NUMBER = 2**63 - 2
"""The largest bigint, less one: a page is read with one row more than it shows."""

MAX_CONTENT = 16 * 2**20
"""Bytes of a message's content. The server needs several times as much memory to store it, and a page of larger
messages would not fit into a small server."""

MAX_METADATA = 4 * 2**20
"""Bytes of metadata as JSON. PostgreSQL writes a number such as 5e-324 fifty times as long; a row may have 1 GB."""

MAX_TOGETHER = MAX_CONTENT + MAX_METADATA
"""Bytes of content and metadata in one call: the same as in one message."""

MAX_DEPTH = 100
"""Levels of lists and mappings in metadata: reading each takes a level of Python's stack."""

MAX_DIGITS = 4300
"""Digits of an integer in metadata: Python's own limit."""

MAX_WAITING = 1_000_000
"""Appends in a writer's queue: each needs memory."""

MAX_SECONDS = 2_000_000
"""Seconds of a timeout: the server has 32 bits for milliseconds."""

MAX_MANY = 10_000
"""Messages or ids in one call: other writers of a session wait until all are stored."""

MAX_SHARDS = 64_000
"""The most that Citus allows."""

Sanitize = Literal["replace"] | None
"""What to do with characters that PostgreSQL cannot store: refuse the message, or replace them."""

_dumped = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_TEXT_OR_NUMBER = re.compile(
    # In this order. A number matches only from its start; otherwise a long one would take quadratic time.
    rf'"(?:[^"\\]++|\\.)*+"|(?<![\d.])(?:(?P<power>-?[\d.]++e\+\d++)|(?P<long>\d{{{MAX_DIGITS + 1}}}))'
)
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def text(argument: str, value: object) -> str:
    """Return a text that PostgreSQL can store."""
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
    # Not a subclass such as an enum: the driver needs lists of one type.
    return value if type(value) is str else str.__str__(value)


def content(argument: str, value: object, sanitize: Sanitize) -> str:
    """Return a message's content, with replaced characters if `sanitize` says so."""
    if type(value) is str and value.isascii() and "\0" not in value and len(value) <= MAX_CONTENT:
        return value  # The usual case, in a third of the time.
    if sanitize == "replace" and isinstance(value, str):
        value = value.replace("\0", "\ufffd")
        if not value.isascii():
            value = re.sub("[\ud800-\udfff]", "\ufffd", value)
    checked = text(argument, value)
    if len(checked) * 4 > MAX_CONTENT and (length := size(checked)) > MAX_CONTENT:  # A character has 1 to 4 bytes.
        raise InvalidInput(
            argument, f"has {length} bytes; {MAX_CONTENT} is the most: keep it elsewhere, and a link here"
        )
    return checked


def sanitize(argument: str, value: Sanitize) -> Sanitize:
    """Return a valid value of `sanitize`."""
    if value is not None and value != "replace":
        raise InvalidInput(argument, f'is {value!r}; it must be "replace" or None')
    return value


def identifier(argument: str, value: object) -> str:
    """Return an id, a role or a source: not empty, and short enough for the indexes."""
    if type(value) is str and value.isascii() and "\0" not in value and 0 < len(value) <= MAX_ID_LENGTH:
        return value  # The usual case, in a third of the time.
    checked = text(argument, value)
    if not checked:
        raise InvalidInput(argument, "is empty")
    if len(checked) > MAX_ID_LENGTH:
        raise InvalidInput(argument, f"has {len(checked)} characters; {MAX_ID_LENGTH} is the most")
    return checked


def optional_identifier(argument: str, value: object) -> str | None:
    """Return an identifier or None."""
    return None if value is None else identifier(argument, value)


def user(user_id: object, owner: str | None) -> str | None:
    """Return the user's id. In a store that is confined to an owner, it must be the owner's, which is the default."""
    checked = optional_identifier("user_id", user_id)
    if owner is not None and checked not in {None, owner}:
        raise InvalidInput("user_id", f"is {checked!r}, and this store is confined to user {owner!r}")
    return owner or checked


def metadata(argument: str, value: object) -> str:
    """Return metadata as JSON that reads back as equal."""
    if not isinstance(value, Mapping):
        raise InvalidInput(argument, f"must be a mapping, not {type(value).__name__}")
    given = dict(value)
    dumped = read_metadata(argument, given)
    if dumped != "{}" and json.loads(dumped) != given:
        raise InvalidInput(argument, "would not be read back as it is: use lists for tuples, and strings for keys")
    return dumped


def read_metadata(argument: str, value: object) -> str:
    """Return metadata as JSON, if it was read from JSON and so reads back as equal."""
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
    """Return metadata as JSON; None is an empty object."""
    return "{}" if value is None else metadata(argument, value)


def number(argument: str, value: object, *, least: int, most: int = MAX_NUMBER) -> int:
    """Return an integer from `least` to `most`, by default the largest bigint."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(argument, f"must be an int, not {type(value).__name__}")
    if not least <= value <= most:
        raise InvalidInput(argument, f"is {value}; it must be from {least} to {most}")
    return int(value)  # Not a subclass, as in `text`.


def next_number(if_next: int | None) -> int | None:
    """Return the next number that a change requires, or None."""
    return None if if_next is None else number("if_next", if_next, least=0)


def flag(argument: str, value: object) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise InvalidInput(argument, f"must be True or False, not {type(value).__name__}")
    return value


def seconds(argument: str, value: float | None) -> float | None:
    """Return a duration above 0 that fits a setting of the server, or None."""
    if value is not None and not (isinstance(value, int | float) and 0 < value <= MAX_SECONDS):
        raise InvalidInput(argument, f"must be None, or above 0 and at most {MAX_SECONDS} seconds; got {value!r}")
    return value


def moment(argument: str, value: object) -> datetime:
    """Return a datetime with a time zone, in UTC."""
    if not isinstance(value, datetime):
        raise InvalidInput(argument, f"must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidInput(argument, "has no time zone; use datetime.now(timezone.utc) and its like")
    try:
        return value.astimezone(UTC)  # PostgreSQL has no offsets with fractions of a second.
    except OverflowError:
        raise InvalidInput(argument, "lies outside of the years 1 to 9999") from None


def statuses(argument: str, value: Status | Collection[Status] | None) -> list[str]:
    """Return the statuses of a list: one, several without duplicates, or those that lists show for None."""
    if value is None:
        return list(LISTED)
    several = [value] if isinstance(value, str) else _many(argument, value, "statuses")
    for one in several:
        if one not in STATUSES:
            raise InvalidInput(argument, f"is {one!r}; it must be one of {', '.join(STATUSES)}")
    if not several:
        raise InvalidInput(argument, "is empty; pass None for all but trashed")
    return [status for status in STATUSES if status in several]


def keys(argument: str, value: Iterable[str]) -> list[str]:
    """Return keys of metadata."""
    return [text(f"{argument}[{n}]", one) for n, one in enumerate(_many(argument, value, "keys"))]


def identifiers(argument: str, value: Collection[str]) -> list[str]:
    """Return ids without duplicates, in their order."""
    several = _many(argument, value, "ids")
    return list(dict.fromkeys(identifier(f"{argument}[{n}]", one) for n, one in enumerate(several)))


def new_messages(argument: str, value: Iterable[NewMessage]) -> list[NewMessage]:
    """Return a list of messages to append; their fields are not checked yet."""
    several = _many(argument, value, "messages")
    for n, one in enumerate(several):
        if not isinstance(one, NewMessage):
            raise InvalidInput(f"{argument}[{n}]", f"must be a NewMessage, not {type(one).__name__}")
    return several


def pairs(argument: str, value: Iterable[tuple[Any, NewMessage]]) -> list[tuple[Any, NewMessage]]:
    """Return a list of sessions and messages to append; the fields of the messages are not checked yet."""
    several = _many(argument, value, "messages")
    for n, one in enumerate(several):
        if not isinstance(one, tuple) or len(one) != 2 or not isinstance(one[1], NewMessage):  # noqa: PLR2004
            raise InvalidInput(f"{argument}[{n}]", "must be a tuple of a session and a NewMessage")
    return several


def cursor(argument: str, value: str | None) -> tuple[str, str]:
    """Parse a cursor into (place, session_id); None is the first page."""
    if value is None:
        return "infinity", ""
    moment_text, separator, session_id = text(argument, value).partition("/")
    try:
        place = moment(argument, datetime.fromisoformat(moment_text)) if separator else None
    except ValueError:
        place = None
    if place is None:
        raise InvalidInput(argument, "invalid; pass `SessionPage.cursor` unchanged")
    # In PostgreSQL's form: Python also parses forms such as 2026-W01-1.
    return place.isoformat(), identifier(argument, session_id)


def make_cursor(place: datetime, session_id: str) -> str:
    """Return the cursor of the page that follows this session."""
    return f"{place.isoformat()}/{session_id}"


def _many(argument: str, value: object, of: str) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidInput(argument, f"must be a list of {of}, not one {type(value).__name__}")
    several = list(value)
    if len(several) > MAX_MANY:
        raise InvalidInput(argument, f"has {len(several)} {of}; {MAX_MANY} at once is the most")
    return several


def size(value: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(value) if value.isascii() else len(value.encode())


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer))
        level = [one for one in inner if isinstance(one, dict | list)]
    return bool(level)


def _readable(argument: str, found: re.Match[str]) -> str:
    """Write a number so that it reads back as the same value and type; strings are unchanged.

    PostgreSQL keeps the decimal digits: 1e+23 would read back as an int, and not as the float, whose exact value is
    not ten to the power of 23.
    """
    if found["long"]:
        raise InvalidInput(argument, f"holds a number of more than {MAX_DIGITS} digits")
    return f"{float(found['power']):.1f}" if found["power"] else found[0]
