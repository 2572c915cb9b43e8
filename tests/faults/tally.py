"""The table of faults."""

from dataclasses import dataclass

from faults.check import FOUND


@dataclass
class Row:
    injected: int = 0
    acknowledged: int = 0
    unacknowledged: int = 0
    changes: int = 0
    unknown: int = 0
    lost: int = 0
    duplicated: int = 0
    gaps: int = 0
    misapplied: int = 0
    foreign: int | None = None
    """None if no confined store was used."""
    wrong: int = 0
    late: float = 0.0
    recovery: float = 0.0


COUNTS = ("acknowledged", "unacknowledged", "changes", "unknown")

SHOWN = ("injected", *COUNTS, *FOUND)


class Tally:
    """The injected faults, and the outcome of the calls, by kind of fault."""

    HEAD = ("fault", *SHOWN, "foreign", "latest, s", "slowest recovery, s")

    def __init__(self):
        self.rows = {}

    def add(self, fault, injected, verdict, *, late=0.0, recovery=0.0, foreign=None):
        row = self.rows.setdefault(fault, Row())
        row.injected += injected
        if foreign is not None:
            row.foreign = (row.foreign or 0) + foreign
        for name in COUNTS:
            setattr(row, name, getattr(row, name) + getattr(verdict, name))
        for name in FOUND:
            setattr(row, name, getattr(row, name) + len(getattr(verdict, name)))
        row.late, row.recovery = max(row.late, late), max(row.recovery, recovery)

    def __str__(self):
        """Return a Markdown table."""
        total = Row()
        for row in self.rows.values():
            for name in SHOWN:
                setattr(total, name, getattr(total, name) + getattr(row, name))
            total.foreign = (total.foreign or 0) + (row.foreign or 0)
            total.late, total.recovery = max(total.late, row.late), max(total.recovery, row.recovery)
        lines = ["| " + " | ".join(self.HEAD) + " |", "|---" + "|---:" * (len(self.HEAD) - 1) + "|"]
        for name, row in [*self.rows.items(), ("**in all**", total)]:
            foreign = "–" if row.foreign is None else f"{row.foreign:,}"
            cells = [
                name,
                *(f"{getattr(row, name):,}" for name in SHOWN),
                foreign,
                f"{row.late:.2f}",
                f"{row.recovery:.2f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)
