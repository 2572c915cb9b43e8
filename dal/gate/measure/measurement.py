"""What the gate has measured of a query."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from dal.gate.header.promises import ROW_LOCKS
from dal.gate.measure.cost import Cost, strongest
from dal.gate.measure.locking import Locking
from dal.gate.measure.plans import Plan
from dal.gate.measure.subjects import Subject

Curve = dict[int, dict[str, Cost]]
"""By size, and custom or generic."""

STANDARD = "the standard data"
"""The axis of a query that promises no growth: it is measured at one size, so that it is run at all."""

STANDARD_SIZE = 64
"""How large the standard data are."""


@dataclass(slots=True)
class Exercise:
    """Whether the calls along an axis did anything: a promise is not kept by a call that does nothing."""

    may_match_nothing: bool = False
    matched: dict[int, int] = field(default_factory=dict)
    """By size: how many rows the call returned, or changed, with the plan with which it did least."""
    still: list[int] = field(default_factory=list)
    """The sizes at which neither the data nor the parameters differ from those of the size before."""


@dataclass(slots=True)
class Measured:
    """All that was measured of one query."""

    subject: Subject
    curves: dict[str, Curve] = field(default_factory=dict)
    """By axis."""
    repeated: dict[str, Curve] = field(default_factory=dict)
    """What a call costs that is sent again with the same values, if it writes and may be sent again."""
    held: dict[str, Curve] = field(default_factory=dict)
    exercise: dict[str, Exercise] = field(default_factory=dict)
    """By axis."""
    held_exercise: dict[str, Exercise] = field(default_factory=dict)
    plans: dict[str, dict[int, dict[str, Plan]]] = field(default_factory=dict)
    """By axis, size, and custom or generic."""
    locks: dict[str, str] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)
    """How many rows of each table are locked against other writers, in all or for each, as promised."""
    row_locks: dict[str, str] = field(default_factory=dict)
    """The strongest lock on a row of each table."""
    advisory: int = 0
    """How many advisory locks are held."""
    waits: set[str] = field(default_factory=set)
    """The tables in which it waited for rows that another transaction held."""
    round_trips: int = 0
    tables: Collection[str] = ()
    """All tables of the scratch schema."""
    failure: str | None = None
    """The database's error, if the query failed: nothing more was measured then."""

    def exercise_along(self, axis: str, *, held: bool = False) -> Exercise:
        """Return what is known of the calls along an axis."""
        of = self.held_exercise if held else self.exercise
        return of.setdefault(axis, Exercise(self.subject.promises.may_match_nothing))

    @property
    def axes(self) -> list[str]:
        """What the promises speak of, each once; the standard data, if they speak of no growth."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.bounds)) or [STANDARD]

    @property
    def held_axes(self) -> list[str]:
        """What the promises under a held snapshot speak of, each once."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.held))

    def note_locks(self, held: Locking, axis: str, size: int) -> None:
        """Add the locks that a call held at a size of an axis."""
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
