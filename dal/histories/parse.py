"""Parse a line of an import as strict JSON. The errors contain nothing of its content."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from dal.errors import InvalidInput
from dal.validate import MAX_METADATA

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""The first bytes of files compressed with gzip, bzip2, xz and zstd."""

_MAX_VALUES = MAX_METADATA
"""Values in a line: valid metadata has fewer values than bytes."""

_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)

_LONGEST_NAME = 40
"""Characters of a name in the file that an error shows."""


def parsed(text: bytes | bytearray) -> Any:
    """Return the value of a line."""
    if len(text) > _MAX_VALUES and _count_values(text) > _MAX_VALUES:
        raise InvalidInput("", f"has more than {_MAX_VALUES} values")
    try:
        line = text.decode().strip(" \t\r")
        value, end = _decode(line)
        if end < len(line):
            raise json.JSONDecodeError("Extra data", line, end)
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput("", f"is not JSON: {_reason(text, error)}") from None
    return value


def _count_values(text: bytes | bytearray) -> int:
    """Return about how many values a line has. All but strings take twenty times their length in memory."""
    bare = _TEXT.sub(b"", text)
    return sum(bare.count(sign) for sign in (b",", b"[", b"{"))


def can_be_read(text: bytes) -> bool:
    """Return whether this is a complete value, and not only the start of one."""
    try:
        parsed(text.removeprefix(BYTE_ORDER_MARK))
    except InvalidInput:
        return False
    return True


def shown(name: str) -> str:
    """Return a name as an error shows it: shortened, and escaped if it has unprintable characters."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    return short if short.isprintable() else ascii(short)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict; refuse a key that occurs twice, which json would drop silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise InvalidInput(shown(twice), "occurs twice in one object")
    return found


_decode = json.JSONDecoder(object_pairs_hook=_object).raw_decode


def _reason(text: bytes | bytearray, error: Exception) -> str:
    if text.startswith(_COMPRESSED):
        return "it is compressed; decompress it first, or give the file a name that ends in .gz or .zst"
    if b"\0" in text:
        return "it holds NUL bytes; write the file as UTF-8, not as UTF-16"
    if b"\r" in text.strip():
        return "its lines end with CR alone; they must end with LF"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {error.start + 1}"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, at character {error.pos + 1}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
