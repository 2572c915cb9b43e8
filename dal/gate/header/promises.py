"""The kinds of promises in a query's header, and the words that they accept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path


class Growth(IntEnum):
    """How a figure grows with n. Slower growth than promised keeps the promise."""

    CONSTANT = 0
    LOGARITHMIC = 1
    LINEAR = 2
    LINEARITHMIC = 3
    QUADRATIC = 4

    def __str__(self) -> str:
        return f"O({GROWTHS[self]})"


GROWTHS = ("1", "log n", "n", "n log n", "n^2")

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
"""PostgreSQL's table locks, weakest first."""

ROW_LOCKS = ("FOR KEY SHARE", "FOR SHARE", "FOR NO KEY UPDATE", "FOR UPDATE")
"""PostgreSQL's row locks, weakest first. An UPDATE takes the third, or the last if it changes a key; a DELETE takes the
last."""

METRICS = {"buffers": "buffers", "WAL": "wal_bytes", "WAL records": "wal_records", "rows": "rows_read"}
"""Figures whose growth can be promised, each with its attribute of Cost. `WAL` is in bytes."""

UNITS = {
    "buffer": "buffers",
    "buffers": "buffers",
    "WAL bytes": "wal_bytes",
    "WAL record": "wal_records",
    "WAL records": "wal_records",
    "row": "rows_read",
    "rows": "rows_read",
    "ms of CPU": "cpu_ms",
    "sleep": "sleeps",
    "sleeps": "sleeps",
    "temporary bytes": "temporary_bytes",
}
"""Units of a cap, each with its attribute of Cost. Rows are those that the server reads."""

NODES = (
    *("Result", "ProjectSet", "ModifyTable", "Append", "Merge Append", "Recursive Union", "BitmapAnd", "BitmapOr"),
    *("Nested Loop", "Merge Join", "Hash Join", "Seq Scan", "Sample Scan", "Gather", "Gather Merge", "Index Scan"),
    *("Index Only Scan", "Bitmap Index Scan", "Bitmap Heap Scan", "Tid Scan", "Tid Range Scan", "Subquery Scan"),
    *("Function Scan", "Table Function Scan", "Values Scan", "CTE Scan", "WorkTable Scan", "Foreign Scan"),
    *("Custom Scan", "Materialize", "Memoize", "Sort", "Incremental Sort", "Group", "Aggregate", "WindowAgg"),
    *("Unique", "SetOp", "LockRows", "Limit", "Hash"),
)
"""Plan nodes of EXPLAIN. A promise about an unknown node could not be broken, so it is an error."""


@dataclass(frozen=True, slots=True)
class Cap:
    """The maximum of a figure at every size; with `each`, its maximum per item of the axis."""

    most: int
    unit: str
    line: int
    each: bool = False

    def __str__(self) -> str:
        if not self.most:
            return f"no {self.unit}"
        return f"at most {self.most:,} {self.unit}{' each' if self.each else ''}"


@dataclass(frozen=True, slots=True)
class Bound:
    """The maximum growth of a figure along an axis. A divisor or a cap limits its values too."""

    metric: str
    growth: Growth
    axis: str
    line: int
    divisor: int | None = None
    """The figure exceeds its smallest value by at most n / divisor."""
    cap: Cap | None = None

    def __str__(self) -> str:
        most = f", at most n/{self.divisor}" if self.divisor else f", {self.cap}" if self.cap else ""
        return f"{self.metric} {self.growth} in {self.axis}{most}"


@dataclass(frozen=True, slots=True)
class Never:
    """A plan node that never appears, on one table or on any."""

    node: str
    table: str | None
    line: int
    small: frozenset[str] = frozenset()
    """Small tables, on which the node may appear unless this promise names the table."""

    def forbids(self, node: str, table: str | None) -> bool:
        """Return whether the promise forbids a node that reads a table."""
        return node == self.node and (table == self.table if self.table else table not in self.small)

    def __str__(self) -> str:
        return f"{self.node} on {self.table}" if self.table else self.node


@dataclass(frozen=True, slots=True)
class Rows:
    """The number of rows of a table that are locked against other writers, in total or per item of an axis."""

    number: int | None
    """None means any number."""
    table: str
    each: str | None = None
    strength: str = ROW_LOCKS[2]
    """The strongest allowed lock, one of ROW_LOCKS."""

    def __str__(self) -> str:
        number = "any" if self.number is None else f"{self.number:,}"
        strength = "" if self.strength == ROW_LOCKS[2] and self.number is not None else f" {self.strength}"
        text = f"{number} row{'' if self.number == 1 else 's'} of {self.table} locked{strength}"
        return f"{text} for each of {self.each}" if self.each else text


@dataclass(frozen=True, slots=True)
class Waits:
    """The tables in which a call may wait for another transaction's row locks; none means that it never waits."""

    tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"waits for rows of {', '.join(self.tables)}" if self.tables else "waits for nobody"


@dataclass(frozen=True, slots=True)
class Advisory:
    """The maximum number of advisory locks."""

    number: int

    def __str__(self) -> str:
        return f"{self.number or 'no'} advisory lock{'s' if self.number > 1 else ''}"


SHARDS = "the shards"
"""In a promise of remote commands: for each shard of the tables."""


@dataclass(frozen=True, slots=True)
class RemoteCommands:
    """The maximum number of commands that a cluster's node sends to others, in total, per shard, or per item."""

    number: int | None
    """None limits only the growth."""
    each: str | None = None
    """SHARDS, an axis, or None for a number in total."""

    def __str__(self) -> str:
        if self.each == SHARDS:
            return "O(shards)" if self.number is None else f"O(shards), at most {self.number:,} each"
        return f"{self.number:,} for each of {self.each}" if self.each else f"{self.number:,}"


@dataclass(frozen=True, slots=True)
class Promises:
    """All promises of a query."""

    path: Path
    round_trips: int
    hot: bool
    may_match_nothing: bool
    """Whether a call that returns and changes no row counts as a measurement."""
    line: int
    """The line number of `Promises:`."""
    bounds: tuple[Bound, ...]
    caps: tuple[Cap, ...]
    held: tuple[Bound, ...]
    locks: dict[str, str] = field(hash=False)
    """The strongest lock on each table."""
    rows: tuple[Rows, ...]
    advisory: Advisory
    waits: Waits | None
    """None if the header makes no such promise."""
    locks_line: int
    never: tuple[Never, ...]
    remote: tuple[RemoteCommands, ...] = ()
    """The parts of the limit, which is their sum; none if the header has no such line."""
    remote_line: int = 0
