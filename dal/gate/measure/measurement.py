"""The measurements of one query."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from dal.gate.header.promises import LOCK_MODES, ROW_LOCKS, SHARDS
from dal.gate.measure.cost import Cost, strongest
from dal.gate.measure.locking import Locking
from dal.gate.measure.plans import Plan
from dal.gate.measure.subjects import Subject

Curve = dict[int, dict[str, Cost]]
"""Costs by size and plan (custom or generic)."""

STANDARD = "the standard data"
"""The axis of a query that promises no growth. It is measured at one size."""

STANDARD_SIZE = 64
"""The size of the standard data."""


REMOTE_SIZE = 16
"""The size of any other axis along which remote commands are measured."""


@dataclass(slots=True)
class Activity:
    """The effects of the calls along an axis. A call without any effect keeps no promise."""

    may_match_nothing: bool = False
    matched: dict[int, int] = field(default_factory=dict)
    """By size: the rows that the call returned or wrote; the lower number of both plans."""
    unchanged: list[int] = field(default_factory=list)
    """The sizes whose data and parameters are the same as at the size before."""


@dataclass(slots=True)
class Measurement:
    """All measurements of one query."""

    subject: Subject
    curves: dict[str, Curve] = field(default_factory=dict)
    """By axis."""
    repeated: dict[str, Curve] = field(default_factory=dict)
    """The costs of a second call with the same values, for a statement that writes and can be repeated."""
    held: dict[str, Curve] = field(default_factory=dict)
    activity: dict[str, Activity] = field(default_factory=dict)
    """By axis."""
    held_activity: dict[str, Activity] = field(default_factory=dict)
    plans: dict[str, dict[int, dict[str, Plan]]] = field(default_factory=dict)
    """By axis, size and plan."""
    locks: dict[str, str] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)
    """The number of rows of each table that are locked against other writers, in total or per item, as promised."""
    row_locks: dict[str, str] = field(default_factory=dict)
    """The strongest lock on a row of each table."""
    advisory: int = 0
    """The number of advisory locks."""
    waits: set[str] = field(default_factory=set)
    """The tables in which a call waited for another transaction's row locks."""
    round_trips: int = 0
    is_on_cluster: bool = False
    """True if it was measured on a cluster, where only round trips and remote commands are counted."""
    remote: dict[int, dict[str, int]] = field(default_factory=dict)
    """The number of remote commands, by the number of shards and by axis."""
    tables: Collection[str] = ()
    """All tables of the scratch schema."""
    failure: str | None = None
    """The server's error if the query failed. Nothing more is measured then."""

    def activity_along(self, axis: str, *, held: bool = False) -> Activity:
        """Return the effects of the calls along an axis."""
        of = self.held_activity if held else self.activity
        return of.setdefault(axis, Activity(self.subject.promises.may_match_nothing))

    @property
    def axes(self) -> list[str]:
        """Return the axes of the promised growth, or else the standard data."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.bounds)) or [STANDARD]

    @property
    def only_reads(self) -> bool:
        """Return whether the query promises only the locks of a read."""
        return not set(self.subject.promises.locks.values()) - {LOCK_MODES[0]}

    @property
    def remote_axes(self) -> list[str]:
        """Return the axes of the promised remote commands, or else the standard data."""
        each = (part.each for part in self.subject.promises.remote)
        return list(dict.fromkeys(axis for axis in each if axis and axis != SHARDS)) or [STANDARD]

    @property
    def remote_sizes(self) -> dict[str, int]:
        """Return the size of each of these axes."""
        return {axis: STANDARD_SIZE if axis == STANDARD else REMOTE_SIZE for axis in self.remote_axes}

    @property
    def held_axes(self) -> list[str]:
        """Return the axes of the promises under a held snapshot."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.held))

    def note_locks(self, held: Locking, axis: str, size: int) -> None:
        """Add the locks of a call at a size of an axis."""
        self.locks = strongest([*self.locks.items(), *held.tables.items()])
        self.advisory = max(self.advisory, held.advisory)
        each = {rows.table: rows.each for rows in self.subject.promises.rows if rows.each}
        for table, rows in held.rows.items():
            if rows.strength:
                self.row_locks[table] = max(rows.strength, self.row_locks.get(table, ""), key=_rank)
            if each.get(table, axis) == axis:
                number = rows.number / (size if table in each else 1)
                self.rows[table] = max(number, self.rows.get(table, 0))


def _rank(strength: str) -> int:
    return ("", *ROW_LOCKS).index(strength)
