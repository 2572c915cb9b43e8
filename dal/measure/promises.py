"""What a query file promises: parsed strictly from its header.

    -- Promises: 1 round trip; HOT; buffers O(log n) in the session's messages; WAL O(1) in the session's messages
    -- Held snapshot: buffers O(n) in the appends since, at most n/50
    -- Locks: RowExclusive on sessions, messages; 1 row of sessions
    -- Never: Seq Scan; Sort on messages

A line may go on in lines that are indented. `Held snapshot:` may be left out; the others may not. What growth
is measured in is one of the axes that the fixtures know how to grow. HOT: no update writes to an index. The
rows that are locked against other writers are as many as promised, no more and no fewer: too few would let
writers pass each other. Where there are as many as something is large: `1 row of sessions for each of the given
sessions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path


class Growth(IntEnum):
    """How a figure grows with n; a slower one is kept where a faster one is promised."""

    CONSTANT = 0
    LOGARITHMIC = 1
    LINEAR = 2
    LINEARITHMIC = 3
    QUADRATIC = 4

    def __str__(self) -> str:
        return f"O({_GROWTHS[self]})"


_GROWTHS = ("1", "log n", "n", "n log n", "n^2")

LOCK_MODES = (
    "AccessShare",
    "RowShare",
    "RowExclusive",
    "ShareUpdateExclusive",
    "Share",
    "ShareRowExclusive",
    "Exclusive",
    "AccessExclusive",
)
"""Table locks as PostgreSQL names them, the weakest first."""

METRICS = {"buffers": "buffers", "WAL": "wal_bytes", "rows": "rows_read"}
"""The figures that a promise can be about, and what they are called in a Cost."""


class PromiseError(Exception):
    """A header that cannot be understood; says where, and what is expected."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}")
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure grows no faster than this with the size of that, and never exceeds n / divisor."""

    metric: str
    growth: Growth
    axis: str
    line: int
    divisor: int | None = None

    def __str__(self) -> str:
        most = f", at most n/{self.divisor}" if self.divisor else ""
        return f"{self.metric} {self.growth} in {self.axis}{most}"


@dataclass(frozen=True, slots=True)
class Never:
    """A kind of plan node that never appears, on one table or on any."""

    node: str
    table: str | None
    line: int

    def __str__(self) -> str:
        return f"{self.node} on {self.table}" if self.table else self.node


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows of a table are locked against other writers: in all, or for each of what an axis counts."""

    number: int
    table: str
    each: str | None

    def __str__(self) -> str:
        told = f"{self.number:,} row{'' if self.number == 1 else 's'} of {self.table} locked"
        return f"{told} for each of {self.each}" if self.each else told


@dataclass(frozen=True, slots=True)
class Promises:
    """All that one file promises."""

    path: Path
    round_trips: int
    hot: bool
    line: int
    """Where what is promised at every size stands."""
    bounds: tuple[Bound, ...]
    held: tuple[Bound, ...]
    locks: dict[str, str] = field(hash=False)
    """The strongest lock on each table, by name."""
    rows: tuple[Rows, ...]
    locks_line: int
    never: tuple[Never, ...]


_BOUND = re.compile(r"(?P<metric>\w+) O\((?P<growth>[^)]*)\) in (?P<axis>[^,]+?)(?:, at most n/(?P<divisor>\d+))?")
_TRIPS = re.compile(r"(\d+) round trips?")
_ROWS = re.compile(r"(?P<number>\d+) rows? of (?P<table>\w+)(?: for each of (?P<each>.+))?")
_NODE = re.compile(r"(?P<node>[A-Z][A-Za-z]*(?: [A-Z][A-Za-z]*)*)(?: on (?P<table>\w+))?")
_LABEL = re.compile(r"-- (Promises|Held snapshot|Locks|Never): (.*)")


def parse(path: Path, name: str) -> Promises:
    """Read the promises of a query; PromiseError where a word is not understood."""
    start, lines = _labelled(path, name)
    for label in ("Promises", "Locks", "Never"):
        if label not in lines:
            raise PromiseError(path, start, f"query {name} promises nothing: it needs a line `-- {label}: …`")
    line, text = lines["Promises"]
    first, *rest = _parts(text)
    trips = _TRIPS.fullmatch(first)
    if not trips:
        raise PromiseError(path, line, f"{first!r} is not understood; the first promise is `N round trips`")
    locks_line, locks_text = lines["Locks"]
    never_line, never_text = lines["Never"]
    held_line, held_text = lines.get("Held snapshot", (0, ""))
    bounds = tuple(_bound(path, line, part) for part in rest if part != "HOT")
    rows = tuple(
        Rows(int(found["number"]), found["table"], found["each"])
        for part in _parts(locks_text)
        if (found := _ROWS.fullmatch(part))
    )
    for each in {one.each for one in rows} - {None, *(bound.axis for bound in bounds)}:
        raise PromiseError(path, locks_line, f"no growth in {each} is promised, so that nothing is measured there")
    return Promises(
        path=path,
        round_trips=int(trips[1]),
        hot="HOT" in rest,
        line=line,
        bounds=bounds,
        held=tuple(_bound(path, held_line, part) for part in _parts(held_text)),
        locks=_locks(path, locks_line, [part for part in _parts(locks_text) if not _ROWS.fullmatch(part)]),
        rows=rows,
        locks_line=locks_line,
        never=tuple(_never(path, never_line, part) for part in _parts(never_text) if part != "none"),
    )


def _labelled(path: Path, name: str) -> tuple[int, dict[str, tuple[int, str]]]:
    """The line where a query begins, and its header's labelled lines with their numbers.

    A line that is indented goes on with the one before.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next((n for n, line in enumerate(lines, start=1) if re.match(rf"-- *name *: *{name}\b", line)), None)
    if start is None:
        raise PromiseError(path, 1, f"holds no query {name}")
    found: dict[str, tuple[int, str]] = {}
    label = None
    for number, line in enumerate(lines[start:], start=start + 1):
        if not line.startswith("--"):
            break
        if match := _LABEL.fullmatch(line):
            label = match[1]
            if label in found:
                raise PromiseError(path, number, f"{label} stands twice")
            found[label] = (number, match[2])
        elif label and line.startswith("--   "):
            found[label] = (found[label][0], f"{found[label][1]} {line[2:].strip()}")
        else:
            label = None
    return start, found


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _bound(path: Path, line: int, part: str) -> Bound:
    found = _BOUND.fullmatch(part)
    if not found:
        raise PromiseError(path, line, f"{part!r} is not understood; expected `METRIC O(…) in WHAT[, at most n/N]`")
    if found["metric"] not in METRICS:
        raise PromiseError(path, line, f"metric {found['metric']!r} is unknown; there are {', '.join(METRICS)}")
    if found["growth"] not in _GROWTHS:
        raise PromiseError(path, line, f"O({found['growth']}) is unknown; there are O({'), O('.join(_GROWTHS)})")
    return Bound(
        metric=found["metric"],
        growth=Growth(_GROWTHS.index(found["growth"])),
        axis=found["axis"],
        line=line,
        divisor=int(found["divisor"]) if found["divisor"] else None,
    )


def _locks(path: Path, line: int, parts: list[str]) -> dict[str, str]:
    locks: dict[str, str] = {}
    for part in parts:
        if part == "none":
            continue
        mode, on, tables = part.partition(" on ")
        if not on or mode not in LOCK_MODES:
            raise PromiseError(
                path,
                line,
                f"{part!r} is not understood; expected none or `MODE on TABLE, TABLE`, with a mode of "
                + ", ".join(LOCK_MODES),
            )
        locks |= {table.strip(): mode for table in tables.split(",")}
    return locks


def _never(path: Path, line: int, part: str) -> Never:
    found = _NODE.fullmatch(part)
    if not found:
        raise PromiseError(
            path, line, f"{part!r} is not understood; expected `NODE` or `NODE on TABLE`, such as Seq Scan on messages"
        )
    return Never(node=found["node"], table=found["table"], line=line)
