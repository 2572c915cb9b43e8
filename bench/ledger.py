"""The measurements of a benchmark run: tables to read, and figures to compare with the baseline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import results
from baseline import compare, parse, updated
from measures import Figures, classes, gated, number

from dal.gate.measure.growth import SLACK, Growth

BASELINE = Path(__file__).with_name("baseline.txt")

_COLUMN_NAMES = {"rows": "rows read", "WAL": "WAL records"}
"""Column names of metrics whose names in the baseline are too short."""

_AT = re.compile(r"(?:(?P<what>.*) )?at (?P<size>[\d,]+)(?P<beside>, .*)?")


class Ratio(float):
    """A time divided by another one."""

    def __str__(self) -> str:
        return f"{float(self):.2f} x"


def ratio(seconds: float, to: float) -> Ratio:
    """A time divided by another one."""
    return Ratio(seconds / to)


class _Seconds(float):
    """A time, shown as a ratio to that of the first row."""


class Table:
    """A table of the report."""

    def __init__(self) -> None:
        self.subject: str | None = None
        self.over = "n"
        self.rows: dict[str, dict[str, str | Ratio | _Seconds]] = {}
        self.curves: dict[str, dict[str, results.Curve]] = {}
        self.notes: list[str] = []

    def add(self, row: str, column: str, value: object) -> None:
        """Add a value. Ratios in columns that differ only in a size, such as `at 10` and `at 1,000`, form a curve."""
        self.rows.setdefault(row, {})[column] = value if isinstance(value, Ratio) else str(value)

    def time(self, row: str, column: str, seconds: float) -> None:
        """Add a time, shown as a ratio to that of the first row."""
        self.rows.setdefault(row, {})[column] = _Seconds(seconds)

    def curve(self, row: str, metric: str, at: Mapping[int, Figures], growth: Growth) -> None:
        """Add a figure over n, and its growth class. The title or `over` defines n."""
        self.rows.setdefault(row, {})
        points = {n: number(one, metric) for n, one in at.items()}
        self.curves.setdefault(row, {})[_COLUMN_NAMES.get(metric, metric)] = results.Curve(points, str(growth))

    def lines(self) -> list[str]:
        """Return the table as aligned lines of text."""
        shown = {row: self._shown(row) for row in self.rows}
        columns = list(dict.fromkeys(column for cells in shown.values() for column in cells))
        grid = [
            ["", *columns],
            *([row, *(cells.get(column, "") for column in columns)] for row, cells in shown.items()),
        ]
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines = ["  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))).rstrip() for row in grid]
        return lines + self.notes

    def _shown(self, row: str) -> dict[str, str]:
        shown = {column: str(cell) for column, cell in self._cells(row).items()}
        for metric, curve in self.curves.get(row, {}).items():
            shown[f"{metric} at {min(curve.points):,} … {max(curve.points):,}"] = " ".join(
                f"{value:,}" for value in curve.points.values()
            )
            shown[metric] = str(curve.growth)
        return shown

    def _cells(self, row: str) -> dict[str, str | Ratio]:
        first = next(iter(self.rows.values()))
        cells: dict[str, str | Ratio] = {}
        for column, cell in self.rows[row].items():
            if isinstance(cell, _Seconds):
                base = first.get(column)
                cells[column] = ratio(cell, base) if isinstance(base, _Seconds) else "?"
            else:
                cells[column] = cell
        return cells

    def result(self, title: str) -> results.Table:
        """Return the table for the results file."""
        timed = self._timed()
        rows = []
        for row in self.rows:
            cells = self._cells(row)
            curves = dict(self.curves.get(row, {}))
            for metric, columns in timed.items():
                points = {size: round(cells.pop(column), 3) for size, column in columns.items() if column in cells}
                if points:
                    curves[metric] = results.Curve(points)
            shown = {column: round(cell, 3) if isinstance(cell, Ratio) else cell for column, cell in cells.items()}
            rows.append(results.Row(row, shown, curves))
        return results.Table(title, self.subject, self.over, tuple(rows), tuple(self.notes))

    def _timed(self) -> dict[str, dict[int, str]]:
        """Return the columns of ratios that form a curve: by name of the curve, and by size."""
        found: dict[str, dict[int, str]] = {}
        for cells in self.rows.values():
            for column, cell in cells.items():
                if isinstance(cell, Ratio) and (at := _AT.fullmatch(column)):
                    metric = f"{at['what'] or 'time'}{at['beside'] or ''}"
                    found.setdefault(metric, {})[int(at["size"].replace(",", ""))] = column
        return {metric: columns for metric, columns in found.items() if len(columns) > 1}


class Ledger:
    """All measurements of a run."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.gated: dict[str, str] = {}
        self.server = ""
        self.whole = True
        self.verdict: list[str] = []

    def table(self, title: str) -> Table:
        """Return the table with this title, created on first use."""
        return self.tables.setdefault(title, Table())

    def gate(self, name: str, value: object) -> None:
        """Add a figure to compare with the baseline."""
        if name in self.gated:
            raise ValueError(f"{name} is measured twice")
        self.gated[name] = str(value)

    def costs(self, title: str, subject: str, row: str, at: Mapping[int, Figures], slack: float = SLACK) -> None:
        """Add the costs of an operation at some sizes; compare its round trips and growth classes."""
        table, grown = self.table(title), classes(at, slack)
        table.subject = subject
        (trips,) = {(one.round_trips, one.statements) for one in at.values()}  # The same at every size.
        for name, count in zip(("round trips", "statements"), trips, strict=True):
            table.add(row, name, count)
            self.gate(f"{subject}, {row}: {name}", count)
        for metric, growth in grown.items():
            if any(number(one, metric) for one in at.values()):
                table.curve(row, metric, at, growth)
            self.gate(f"{subject}, {row}: {metric}", gated(metric, growth))

    def settle(self, *, update: bool, reason: str | None) -> bool:
        """Compare with the baseline, or update it; return False if the run has failed."""
        known = parse(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else parse("")
        if update:
            BASELINE.write_text(str(updated(known, self.gated, reason, whole=self.whole)), encoding="utf-8")
            self.verdict = ["the baseline was updated"]
            return True
        self.verdict = compare(known, self.gated, whole=self.whole)
        return not self.verdict
