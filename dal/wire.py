"""Counting round trips on the wire, in libpq's own trace of a connection.

A round trip is a change of direction, from the client to the server and back: what BEGIN, COMMIT and Parse
cost is counted, and what a pipeline saves is not. Tracing costs time: never measure both at once.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq

_MESSAGE = re.compile(rb"([FB])\t(\d+|NN)\t(\w+)")

_VERBATIM = {b"Query", b"Parse", b"RowDescription"}
"""Messages whose strings stand in the trace as they are, so that a statement's line may look like a message."""


@dataclass
class Wire:
    """What went over a connection while it was watched; known when the block has ended."""

    messages: list[tuple[str, str]] = field(default_factory=list)
    """Every protocol message: F from the client or B from the server, and its kind."""

    @property
    def round_trips(self) -> int:
        """How often the server's turn followed the client's."""
        return "".join(direction for direction, _ in self.messages).count("FB")


@contextmanager
def watch(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> Iterator[Wire]:
    """Watch a connection for the length of the block."""
    wire = Wire()
    with tempfile.TemporaryFile() as trace:
        connection.pgconn.trace(trace.fileno())
        connection.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS | pq.Trace.REGRESS_MODE)
        try:
            yield wire
        finally:
            connection.pgconn.untrace()
            trace.seek(0)
            wire.messages += _parse(trace.read())


def _parse(trace: bytes) -> Iterator[tuple[str, str]]:
    start = 0
    while start < len(trace):
        end = start
        if found := _MESSAGE.match(trace, start):
            yield found[1].decode(), found[3].decode()
            if found[3] in _VERBATIM:
                # The trace of a message is never shorter than the message, whose length counts itself.
                end = found.end() + int(found[2]) - 4
        start = trace.index(b"\n", end) + 1
