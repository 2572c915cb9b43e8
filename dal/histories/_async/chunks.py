"""The chunks of an import's source. The synchronous side is written by hand: it takes no asynchronous source."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from inspect import isawaitable
from typing import Any

from dal.errors import InvalidInput

_SIZE = 2**16
"""Bytes to read from a file at once."""


async def chunks(lines: Any) -> AsyncGenerator[Any]:
    """Yield the chunks of an iterable, asynchronous or not, or of a file."""
    if hasattr(lines, "read"):
        while True:
            chunk = lines.read(_SIZE)
            if isawaitable(chunk):
                chunk = await chunk
            if not chunk:
                return
            yield chunk
    elif isinstance(lines, AsyncIterable):
        async for chunk in lines:
            yield chunk
    elif isinstance(lines, Iterable) and not isinstance(lines, str | bytes | bytearray | memoryview | dict):
        for chunk in lines:
            yield chunk
    else:
        raise InvalidInput("lines", f"must be a file or an iterable of lines, not {type(lines).__name__}")
