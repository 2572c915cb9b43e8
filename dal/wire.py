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

_MESSAGE = re.compile(rb"^([FB])\t\d+\t(\w+)", re.MULTILINE)


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
            wire.messages += [(found[1].decode(), found[2].decode()) for found in _MESSAGE.finditer(trace.read())]
