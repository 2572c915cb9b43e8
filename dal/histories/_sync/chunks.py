"""The chunks of an import's source. The asynchronous side is written by hand: it also takes asynchronous sources."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from dal.errors import InvalidInput

_SIZE = 2**16
"""Bytes to read from a file at once."""


def chunks(lines: Any) -> Generator[Any, None, None]:
    """Yield the chunks of an iterable or of a file."""
    if hasattr(lines, "read"):
        while chunk := lines.read(_SIZE):
            yield chunk
    elif isinstance(lines, Iterable) and not isinstance(lines, str | bytes | bytearray | memoryview | dict):
        yield from lines
    else:
        raise InvalidInput("lines", f"must be a file or an iterable of lines, not {type(lines).__name__}")
