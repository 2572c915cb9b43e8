"""The kinds of promises that a query file can make, and their words."""

from __future__ import annotations

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
"""Table locks as PostgreSQL names them, the weakest first."""

ROW_LOCKS = ("FOR KEY SHARE", "FOR SHARE", "FOR NO KEY UPDATE", "FOR UPDATE")
"""Row locks as PostgreSQL names them, the weakest first. An update takes the third, or the last if it changes a key; a
deletion takes the last."""

METRICS = {"buffers": "buffers", "WAL": "wal_bytes", "WAL records": "wal_records", "rows": "rows_read"}
"""The figures whose growth can be promised, and their names in a Cost. Plain WAL is counted in bytes."""

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
"""The units of a cap, and their names in a Cost. Rows are those that the server reads."""

NODES = (
    *("Result", "ProjectSet", "ModifyTable", "Append", "Merge Append", "Recursive Union", "BitmapAnd", "BitmapOr"),
    *("Nested Loop", "Merge Join", "Hash Join", "Seq Scan", "Sample Scan", "Gather", "Gather Merge", "Index Scan"),
    *("Index Only Scan", "Bitmap Index Scan", "Bitmap Heap Scan", "Tid Scan", "Tid Range Scan", "Subquery Scan"),
    *("Function Scan", "Table Function Scan", "Values Scan", "CTE Scan", "WorkTable Scan", "Foreign Scan"),
    *("Custom Scan", "Materialize", "Memoize", "Sort", "Incremental Sort", "Group", "Aggregate", "WindowAgg"),
    *("Unique", "SetOp", "LockRows", "Limit", "Hash"),
)
"""The nodes of a plan as EXPLAIN names them. A promise about a node that never exists could not be broken."""


@dataclass(frozen=True, slots=True)
class Cap:
    """A figure never exceeds this at any size; with `each`, it never exceeds this for each of what the axis counts."""

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
    """A figure grows no faster than this with the size of that, and never exceeds its cap, or n / divisor."""

    metric: str
    growth: Growth
    axis: str
    line: int
    divisor: int | None = None
    cap: Cap | None = None

    def __str__(self) -> str:
        most = f", at most n/{self.divisor}" if self.divisor else f", {self.cap}" if self.cap else ""
        return f"{self.metric} {self.growth} in {self.axis}{most}"


@dataclass(frozen=True, slots=True)
class Never:
    """A kind of plan node that never appears, on one table or on any."""

    node: str
    table: str | None
    line: int
    small: frozenset[str] = frozenset()
    """Tables that are small by nature, on which the node may appear, unless this very promise names the table."""

    def forbids(self, node: str, table: str | None) -> bool:
        """Whether a node on a table, or fed from it, is what never appears."""
        return node == self.node and (table == self.table if self.table else table not in self.small)

    def __str__(self) -> str:
        return f"{self.node} on {self.table}" if self.table else self.node


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows of a table are locked against other writers: in all, or for each of what an axis counts."""

    number: int | None
    """None for any number."""
    table: str
    each: str | None = None
    strength: str = ROW_LOCKS[2]
    """One of ROW_LOCKS: none of the rows is locked more strongly."""

    def __str__(self) -> str:
        number = "any" if self.number is None else f"{self.number:,}"
        strength = "" if self.strength == ROW_LOCKS[2] and self.number is not None else f" {self.strength}"
        told = f"{number} row{'' if self.number == 1 else 's'} of {self.table} locked{strength}"
        return f"{told} for each of {self.each}" if self.each else told


@dataclass(frozen=True, slots=True)
class Waits:
    """The tables for whose rows a call may wait while another transaction holds them; none, if it waits for nobody."""

    tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"waits for rows of {', '.join(self.tables)}" if self.tables else "waits for nobody"


@dataclass(frozen=True, slots=True)
class Advisory:
    """So many advisory locks are held, at most."""

    number: int

    def __str__(self) -> str:
        return f"{self.number or 'no'} advisory lock{'s' if self.number > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Promises:
    """All that the header of one query promises."""

    path: Path
    round_trips: int
    hot: bool
    may_match_nothing: bool
    """Whether a call that returns and changes no row is a measurement too."""
    line: int
    """The line of `Promises:`."""
    bounds: tuple[Bound, ...]
    caps: tuple[Cap, ...]
    held: tuple[Bound, ...]
    locks: dict[str, str] = field(hash=False)
    """The strongest lock on each table, by name."""
    rows: tuple[Rows, ...]
    advisory: Advisory
    waits: Waits | None
    """None if nothing is promised about that."""
    locks_line: int
    never: tuple[Never, ...]
