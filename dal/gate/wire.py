"""Count round trips on the wire, using libpq's trace of a connection.

In a round trip the client sends messages, and the server replies. So BEGIN, COMMIT and Parse count, and a pipeline
counts once. Tracing is slow: do not measure time while a connection is watched.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakSet

import psycopg
from psycopg import pq

_MESSAGE = re.compile(rb"([FB])\t(\d+)\t(\w+)")
_PARSE = re.compile(rb'\t "([^"]*)" "')
_BIND = re.compile(rb'\t "[^"]*" "([^"]*)"')
_COLUMNS = re.compile(rb"\t (\d+)")
_LAST_COLUMN = re.compile(rb'"(?: -?\d+){6}(?=\n)')

_VERBATIM = frozenset(
    b"Close CommandComplete Describe ErrorResponse NoticeResponse NotificationResponse ParameterStatus Query".split()
)
"""Messages with strings, which the trace does not escape: a string may contain a line that looks like a message. With
its quotes, the message is at least three characters longer in the trace than on the wire."""

_HOUSEKEEPING = {"Close", "Close, Sync"}

_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that the client sent, or another part of the protocol."""

    round_trip: int
    """The number of its round trip, from 1."""
    how: Literal["query", "prepare", "prepared", "other"]
    """Sent as text, only prepared, run as a prepared statement, or not a statement."""
    text: str
    """The text as sent, with $1 for parameters; truncated if very long. If the text of a prepared statement is
    unknown, its name. If it is not a statement, the kinds of the messages."""

    @property
    def only_prepares(self) -> bool:
        """Return whether it only prepares a statement or releases one. A connection does so once per statement."""
        return self.how == "prepare" or self.text == "DEALLOCATE ALL" or self.text in _HOUSEKEEPING


@dataclass
class Wire:
    """The traffic of a connection during a `watch` block. It is complete after the block."""

    messages: list[tuple[str, str]] = field(default_factory=list)
    """Every protocol message: its direction (F: from the client, B: from the server) and its kind."""
    bytes_sent: int = 0
    """Bytes of the messages, before encryption."""
    bytes_received: int = 0
    statements: list[Statement] = field(default_factory=list)
    """The statements in the order sent."""

    @property
    def round_trips(self) -> int:
        """Return the number of round trips."""
        return "".join(direction for direction, _ in self.messages).count("FB")

    @property
    def preparing(self) -> int:
        """Return the number of round trips that only prepared a statement. A warm connection has none."""
        trips: dict[int, bool] = {}
        for statement in self.statements:
            trips[statement.round_trip] = trips.get(statement.round_trip, True) and statement.only_prepares
        return sum(trips.values())


_watched: WeakSet[psycopg.Connection[Any] | psycopg.AsyncConnection[Any]] = WeakSet()


@contextmanager
def watch(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> Iterator[Wire]:
    """Record the traffic of a connection during the block. Use a plain `with` for both kinds of connections."""
    if connection in _watched:
        # A connection has one trace: the end of an inner block would end the outer one.
        raise RuntimeError("the connection is already being watched: `watch` blocks cannot be nested")
    wire = Wire()
    reader = _Reader(wire, _prepared(connection))
    _watched.add(connection)
    with tempfile.TemporaryFile() as trace:
        connection.pgconn.trace(trace.fileno())
        # REGRESS_MODE would hide the length of an error.
        connection.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield wire
        finally:
            connection.pgconn.untrace()
            _watched.discard(connection)
            trace.seek(0)
            reader.read(trace.read())


def _prepared(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> dict[bytes, str]:
    """Return the texts of psycopg's prepared statements. Its list is private; without it, Wire shows their names."""
    names: Mapping[tuple[bytes, Any], bytes] = getattr(getattr(connection, "_prepared", None), "_names", {})
    return {name: _truncated(text) for (text, *_), name in names.items()}


class _Reader:
    """Parses a trace into a Wire."""

    def __init__(self, wire: Wire, prepared: dict[bytes, str]) -> None:
        self._wire = wire
        self._prepared = prepared
        self._trip = 1
        self._turn: list[str] = []
        """The kinds of the client's messages in the current round trip."""
        self._has_statement = False
        """Whether one of them was a statement."""
        self._parsed: bytes | None = None
        """The name of the statement that was parsed in this round trip and not bound yet."""

    def read(self, trace: bytes) -> None:
        start = 0
        while start < len(trace):
            end = start
            if found := _MESSAGE.match(trace, start):
                direction, kind, size = found[1].decode(), found[3].decode(), int(found[2])
                self._wire.messages.append((direction, kind))
                if direction == "F":
                    self._wire.bytes_sent += size + 1  # The length does not include the kind, one byte.
                    self._turn.append(kind)
                else:
                    self._wire.bytes_received += size + 1
                    self._end_turn()
                end = self._message(trace, found, size)
            newline = trace.find(b"\n", end)
            start = newline + 1 if newline >= 0 else len(trace)  # A closed connection leaves an incomplete line.
        self._end_turn()

    def _end_turn(self) -> None:
        if not self._turn:
            return
        if not self._has_statement:
            self._add("other", ", ".join(dict.fromkeys(self._turn)))
        self._turn, self._has_statement, self._parsed = [], False, None
        self._trip += 1

    def _add(self, how: Literal["query", "prepare", "prepared", "other"], text: str) -> None:
        self._wire.statements.append(Statement(self._trip, how, text))
        self._has_statement = True

    def _message(self, trace: bytes, found: re.Match[bytes], size: int) -> int:
        """Record a message, and return the position from which to search for the end of its line."""
        kind, start = found[3], found.end()
        if kind == b"Query":
            self._add("query", _truncated(trace[start + 3 : start + 3 + size - 5]))
        elif kind == b"Parse" and (named := _PARSE.match(trace, start)):
            end = _end_of_text(trace, named, size)
            text = _truncated(trace[named.end() : end])
            self._prepared[named[1]] = text
            self._parsed = named[1]
            self._add("prepare" if named[1] else "query", text)
            return end
        elif kind == b"Bind" and (bound := _BIND.match(trace, start)):
            if bound[1] or self._parsed is None:
                self._add("prepared", self._prepared.get(bound[1], bound[1].decode(errors="replace")))
            self._parsed = None
        elif kind == b"RowDescription":
            return _end_of_columns(trace, start, size)
        return start + size - 1 if kind in _VERBATIM else start


def _end_of_text(trace: bytes, named: re.Match[bytes], size: int) -> int:
    """Return the end of a Parse message's text. The text is unescaped; the number of types and the types follow it."""
    longest = size - 4 - (len(named[1]) + 1) - 1 - 2
    for types in range(longest // 4 + 1):
        end = named.end() + longest - 4 * types
        if re.compile(rb'" %d(?: -?\d+){%d}\n' % (types, types)).match(trace, end):
            return end
    return named.end()


def _end_of_columns(trace: bytes, start: int, size: int) -> int:
    """Return the end of the last column of a RowDescription. Each column is an unescaped name and six numbers."""
    counted = _COLUMNS.match(trace, start)
    if not counted or counted[1] == b"0":
        return start
    columns = int(counted[1])
    names = size - 4 - 2 - columns * (1 + 18)
    shortest = counted.end() + names + columns * len(' "" 0 0 0 0 0 0')
    last = _LAST_COLUMN.search(trace, shortest - len('" 0 0 0 0 0 0'))
    return last.end() if last else shortest


def _truncated(text: bytes) -> str:
    whole = text.decode(errors="replace")
    return whole if len(whole) <= _LONGEST else whole[:_LONGEST] + "…"
