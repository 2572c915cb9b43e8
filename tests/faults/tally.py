"""The table of faults."""

from dataclasses import dataclass


@dataclass
class Row:
    injected: int = 0
    acknowledged: int = 0
    unacknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    gaps: int = 0
    foreign: int | None = None
    """None if no confined store was used."""
    wrong: int = 0
    late: float = 0.0
    recovery: float = 0.0


class Tally:
    """The injected faults, and the outcome of the messages, by kind of fault."""

    HEAD = (
        "fault",
        "injected",
        "acknowledged",
        "unacknowledged",
        "lost",
        "duplicated",
        "gaps",
        "foreign",
        "latest, s",
        "slowest recovery, s",
    )

    def __init__(self):
        self.rows = {}

    def add(self, fault, injected, verdict, *, late=0.0, recovery=0.0, foreign=None):
        row = self.rows.setdefault(fault, Row())
        row.injected += injected
        if foreign is not None:
            row.foreign = (row.foreign or 0) + foreign
        row.acknowledged += verdict.acknowledged
        row.unacknowledged += verdict.unacknowledged
        for name in ("lost", "duplicated", "gaps", "wrong"):
            setattr(row, name, getattr(row, name) + len(getattr(verdict, name)))
        row.late, row.recovery = max(row.late, late), max(row.recovery, recovery)

    def __str__(self):
        """Return a Markdown table."""
        total = Row()
        for row in self.rows.values():
            for name in ("injected", "acknowledged", "unacknowledged", "lost", "duplicated", "gaps", "wrong"):
                setattr(total, name, getattr(total, name) + getattr(row, name))
            total.foreign = (total.foreign or 0) + (row.foreign or 0)
            total.late, total.recovery = max(total.late, row.late), max(total.recovery, row.recovery)
        lines = ["| " + " | ".join(self.HEAD) + " |", "|---" + "|---:" * (len(self.HEAD) - 1) + "|"]
        for name, row in [*self.rows.items(), ("**in all**", total)]:
            counts = (row.injected, row.acknowledged, row.unacknowledged, row.lost, row.duplicated, row.gaps)
            foreign = "–" if row.foreign is None else f"{row.foreign:,}"
            cells = [name, *(f"{count:,}" for count in counts), foreign, f"{row.late:.2f}", f"{row.recovery:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)
