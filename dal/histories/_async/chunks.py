"""What an import is given, piece by piece. Its synchronous twin is written by hand: it takes no asynchronous source."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from inspect import isawaitable
from typing import Any

from dal.errors import InvalidInput

_SIZE = 2**16
"""Bytes of a file that are read at once."""


async def pieces(lines: Any) -> AsyncGenerator[Any]:
    """Give the pieces of an iterable, asynchronous or not, or of a file."""
    if isinstance(lines, str | bytes | bytearray | memoryview | dict):
        raise InvalidInput("lines", f"must be a file or an iterable of lines, not one {type(lines).__name__}")
    if hasattr(lines, "read"):
        while True:
            piece = lines.read(_SIZE)
            if isawaitable(piece):
                piece = await piece
            if not piece:
                return
            yield piece
    elif isinstance(lines, AsyncIterable):
        async for piece in lines:
            yield piece
    elif isinstance(lines, Iterable):
        for piece in lines:
            yield piece
    else:
        raise InvalidInput("lines", f"must be a file or an iterable of lines, not {type(lines).__name__}")
