"""Counting round trips on the wire, in libpq's own trace of a connection.

A round trip is a change of direction, from the client to the server and back: what BEGIN, COMMIT and Parse
cost is counted, and what a pipeline saves is not. Tracing costs time: never measure both at once.
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
"""Messages whose strings stand in the trace as they are, so that their line may hold lines that look like
messages. What follows the kind in a line is, with its quotes, at least three characters longer than the message."""

_HOUSEKEEPING = {"Close", "Close, Sync"}

_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Statement:
    """What the client sent in its turn: a statement, or what else the protocol asks of it."""

    round_trip: int
    """Which one it went with; the first is 1."""
    how: Literal["query", "prepare", "prepared", "other"]
    """Sent to be run, sent to be prepared, run as prepared earlier, or no statement at all."""
    text: str
    """As it was sent, with $1 for parameters, and shortened if it is very long. Where psycopg has forgotten a
    statement that it prepared earlier, the name; where it is no statement, the kinds of the messages."""

    @property
    def only_prepares(self) -> bool:
        """Whether it is what a connection pays once for a statement, to prepare it or to let it go."""
        return self.how == "prepare" or self.text == "DEALLOCATE ALL" or self.text in _HOUSEKEEPING


@dataclass
class Wire:
    """What went over a connection while it was watched; known when the block has ended."""

    messages: list[tuple[str, str]] = field(default_factory=list)
    """Every protocol message: F from the client or B from the server, and its kind."""
    bytes_sent: int = 0
    """Of the messages, before encryption."""
    bytes_received: int = 0
    statements: list[Statement] = field(default_factory=list)
    """In the order in which they were sent."""

    @property
    def round_trips(self) -> int:
        """How often the server's turn followed the client's."""
        return "".join(direction for direction, _ in self.messages).count("FB")

    @property
    def preparing(self) -> int:
        """How many of the round trips only prepared a statement: a connection does it once, and is warm then."""
        trips: dict[int, bool] = {}
        for statement in self.statements:
            trips[statement.round_trip] = trips.get(statement.round_trip, True) and statement.only_prepares
        return sum(trips.values())


_watched: WeakSet[psycopg.Connection[Any] | psycopg.AsyncConnection[Any]] = WeakSet()


@contextmanager
def watch(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> Iterator[Wire]:
    """Watch a connection for the length of the block; a plain `with`, for both kinds."""
    if connection in _watched:
        # libpq has one trace a connection: the inner block's end would be the outer one's, which then counts too few.
        raise RuntimeError("the connection is being watched already: blocks that watch one cannot be nested")
    wire = Wire()
    reader = _Reader(wire, _prepared(connection))
    _watched.add(connection)
    with tempfile.TemporaryFile() as trace:
        connection.pgconn.trace(trace.fileno())
        # Not REGRESS_MODE, which leaves out how long an error was.
        connection.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield wire
        finally:
            connection.pgconn.untrace()
            _watched.discard(connection)
            trace.seek(0)
            reader.read(trace.read())


def _prepared(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> dict[bytes, str]:
    """The statements that psycopg has prepared, by name. It has no public list; without one, the names do."""
    names: Mapping[tuple[bytes, Any], bytes] = getattr(getattr(connection, "_prepared", None), "_names", {})
    return {name: _shortened(text) for (text, *_), name in names.items()}


class _Reader:
    """Reads a trace into a Wire."""

    def __init__(self, wire: Wire, prepared: dict[bytes, str]) -> None:
        self._wire = wire
        self._prepared = prepared
        self._trip = 1
        self._turn: list[str] = []
        """The kinds of what the client has sent in its turn."""
        self._told = False
        """Whether a statement was among them."""
        self._parsed: bytes | None = None
        """The name of what was parsed in this turn and not yet bound."""

    def read(self, trace: bytes) -> None:
        start = 0
        while start < len(trace):
            end = start
            if found := _MESSAGE.match(trace, start):
                direction, kind, size = found[1].decode(), found[3].decode(), int(found[2])
                self._wire.messages.append((direction, kind))
                if direction == "F":
                    self._wire.bytes_sent += size + 1  # The kind is a byte, and not in the length.
                    self._turn.append(kind)
                else:
                    self._wire.bytes_received += size + 1
                    self._answered()
                end = self._message(trace, found, size)
            newline = trace.find(b"\n", end)
            start = newline + 1 if newline >= 0 else len(trace)  # A connection that was closed leaves a line undone.
        self._answered()

    def _answered(self) -> None:
        if not self._turn:
            return
        if not self._told:
            self._tell("other", ", ".join(dict.fromkeys(self._turn)))
        self._turn, self._told, self._parsed = [], False, None
        self._trip += 1

    def _tell(self, how: Literal["query", "prepare", "prepared", "other"], text: str) -> None:
        self._wire.statements.append(Statement(self._trip, how, text))
        self._told = True

    def _message(self, trace: bytes, found: re.Match[bytes], size: int) -> int:
        """Note what a message says, and return where to look for the end of its line."""
        kind, start = found[3], found.end()
        if kind == b"Query":
            self._tell("query", _shortened(trace[start + 3 : start + 3 + size - 5]))
        elif kind == b"Parse" and (named := _PARSE.match(trace, start)):
            end = _end_of_text(trace, named, size)
            text = _shortened(trace[named.end() : end])
            self._prepared[named[1]] = text
            self._parsed = named[1]
            self._tell("prepare" if named[1] else "query", text)
            return end
        elif kind == b"Bind" and (bound := _BIND.match(trace, start)):
            if bound[1] or self._parsed is None:
                self._tell("prepared", self._prepared.get(bound[1], bound[1].decode(errors="replace")))
            self._parsed = None
        elif kind == b"RowDescription":
            return _end_of_columns(trace, start, size)
        return start + size - 1 if kind in _VERBATIM else start


def _end_of_text(trace: bytes, named: re.Match[bytes], size: int) -> int:
    """Where the text of a Parse ends: it stands as it is, and what follows is the number of types, and they."""
    longest = size - 4 - (len(named[1]) + 1) - 1 - 2
    for types in range(longest // 4 + 1):
        end = named.end() + longest - 4 * types
        if re.compile(rb'" %d(?: -?\d+){%d}\n' % (types, types)).match(trace, end):
            return end
    return named.end()


def _end_of_columns(trace: bytes, start: int, size: int) -> int:
    """Where the last column's name of a RowDescription has ended: each is a name as it is, and six numbers."""
    counted = _COLUMNS.match(trace, start)
    if not counted or counted[1] == b"0":
        return start
    columns = int(counted[1])
    names = size - 4 - 2 - columns * (1 + 18)
    shortest = counted.end() + names + columns * len(' "" 0 0 0 0 0 0')
    last = _LAST_COLUMN.search(trace, shortest - len('" 0 0 0 0 0 0'))
    return last.end() if last else shortest


def _shortened(text: bytes) -> str:
    whole = text.decode(errors="replace")
    return whole if len(whole) <= _LONGEST else whole[:_LONGEST] + "…"
