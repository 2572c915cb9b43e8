"""Checks of arguments, made before anything is sent. Each raises InvalidInput naming the argument."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal

from dal.errors import InvalidInput
from dal.records import STATUSES, Status

MAX_ID_LENGTH = 255
"""Characters in an id, a role or a source: two of them must fit into one page of an index."""

MAX_NUMBER = 2**63 - 2
"""What a bigint holds, less one: a page is asked for with one row more than it shows."""

Sanitize = Literal["replace"] | None
"""What to do with content that PostgreSQL cannot store: refuse it, or replace what it cannot."""

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
    return value


def content(argument: str, value: object, sanitize: Sanitize) -> str:
    """A message's content, made storable if the store was asked to."""
    if sanitize == "replace" and isinstance(value, str):
        value = value.replace("\0", "\ufffd")
        if not value.isascii():
            value = re.sub("[\ud800-\udfff]", "\ufffd", value)
    return text(argument, value)


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
    """Metadata as JSON, of which what is read back equals what was given; None is an empty object."""
    if value is None:
        return "{}"
    if not isinstance(value, Mapping):
        raise InvalidInput(argument, f"must be a mapping, not {type(value).__name__}")
    given = dict(value)
    if not given:
        return "{}"
    try:
        dumped = json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        dumped.encode()
        same = json.loads(dumped) == given
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(argument, f"is not JSON: {error}") from None
    if not same:
        raise InvalidInput(argument, "would not be read back as it is: use lists for tuples, and strings for keys")
    if _ESCAPED_NUL.search(dumped):
        raise InvalidInput(argument, "holds a NUL character, which PostgreSQL cannot store; remove it")
    return dumped


def number(argument: str, value: object, *, least: int) -> int:
    """A whole number from `least` to what a bigint holds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(argument, f"must be an int, not {type(value).__name__}")
    if not least <= value <= MAX_NUMBER:
        raise InvalidInput(argument, f"is {value}; it must be from {least} to {MAX_NUMBER}")
    return value


def moment(argument: str, value: object) -> datetime:
    """A point in time: a datetime with a time zone."""
    if not isinstance(value, datetime):
        raise InvalidInput(argument, f"must be a datetime, not {type(value).__name__}")
    if value.tzinfo is None:
        raise InvalidInput(argument, "has no time zone; use datetime.now(timezone.utc) and its like")
    return value


def statuses(argument: str, value: Status | None) -> list[str]:
    """The statuses that a listing wants: one, or all for None."""
    if value is None:
        return list(STATUSES)
    if value not in STATUSES:
        raise InvalidInput(argument, f"is {value!r}; it must be one of {', '.join(STATUSES)}")
    return [value]


def identifiers(argument: str, value: Collection[str]) -> list[str]:
    """Several ids, each once, in their order."""
    if isinstance(value, str):
        raise InvalidInput(argument, "is one str; give a list of them")
    return list(dict.fromkeys(identifier(f"{argument}[{n}]", one) for n, one in enumerate(value)))


def cursor(argument: str, value: str | None) -> tuple[str, str]:
    """A page's cursor as (updated_at, session_id), the first page's for None."""
    if value is None:
        return "infinity", ""
    moment_text, separator, session_id = text(argument, value).partition("/")
    try:
        if not separator or datetime.fromisoformat(moment_text).tzinfo is None:
            raise ValueError  # noqa: TRY301 - both ways of being wrong get the same message
    except ValueError:
        raise InvalidInput(argument, "is not a cursor; use the cursor of the page before, as it is") from None
    return moment_text, identifier(argument, session_id)


def make_cursor(updated_at: datetime, session_id: str) -> str:
    """The cursor that asks for what follows this session."""
    return f"{updated_at.isoformat()}/{session_id}"
