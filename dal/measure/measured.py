"""What the gate has measured of a query."""

from __future__ import annotations

from dataclasses import dataclass, field

from dal.measure.cost import Cost
from dal.measure.plans import Plan
from dal.measure.subjects import Subject

Curve = dict[int, dict[str, Cost]]
"""By size, and custom or generic."""


@dataclass(slots=True)
class Measured:
    """All that was measured of one query."""

    subject: Subject
    curves: dict[str, Curve] = field(default_factory=dict)
    """By axis."""
    repeated: dict[str, Curve] = field(default_factory=dict)
    """What a call costs that is sent again with the same values, if it writes and may be sent again."""
    held: dict[str, Curve] = field(default_factory=dict)
    plans: dict[str, dict[int, dict[str, Plan]]] = field(default_factory=dict)
    """By axis, size, and custom or generic."""
    locks: dict[str, str] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)
    """How many rows of each table are locked against other writers, in all or for each, as promised."""
    round_trips: int = 0

    @property
    def axes(self) -> list[str]:
        """What the promises speak of, each once."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.bounds))

    @property
    def held_axes(self) -> list[str]:
        """What the promises under a held snapshot speak of, each once."""
        return list(dict.fromkeys(bound.axis for bound in self.subject.promises.held))
