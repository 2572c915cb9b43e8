"""The results of a benchmark run as a file: tables, curves, and where it ran.

`bench/` writes it and `bench/show.py` reads it. Times are in it as ratios within the run alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

FORMAT = 1


class NotResults(Exception):
    """The file is missing, or not written by the benchmarks of this release."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure of a row over n."""

    points: Mapping[int, float]
    growth: str | None = None
    """The growth class; None for a time, which is a ratio."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its figures that do not depend on n, and its curves over n, by column."""

    name: str
    cells: Mapping[str, str | float] = field(default_factory=dict)
    """A float is a ratio of times."""
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the run."""

    title: str
    subject: str | None
    """The name of its figures in the baseline, if they are compared."""
    over: str
    """The meaning of n, if the title does not say it."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Return the names of the rows. The place of a row decides its look in every chart."""
        return [row.name for row in self.rows]

    def metrics(self, *, timed: bool) -> tuple[str, ...]:
        """Return the metrics with curves: times, or else figures that do not depend on the machine."""
        curves = [(metric, curve) for row in self.rows for metric, curve in row.curves.items()]
        return tuple(dict.fromkeys(metric for metric, curve in curves if (curve.growth is None) == timed))


@dataclass(frozen=True, slots=True)
class Results:
    """A run of the benchmarks."""

    server: str
    versions: Mapping[str, str]
    day: str
    large: bool
    whole: bool
    """True if every benchmark ran and passed."""
    differs: tuple[str, ...]
    """The differences to the baseline."""
    tables: tuple[Table, ...]

    def save(self, path: Path) -> None:
        """Write the results to a file, and create its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1)
        path.write_text(f"{text}\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read a file of `save`; raise NotResults if that fails."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotResults(f"{path} does not exist") from error
    except OSError as error:
        raise NotResults(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise NotResults(f"{path} is not JSON: {error}") from error
    try:
        return _results(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotResults(f"{path} was not written by the benchmarks of this release: {error!r}") from error


def _results(document: Any) -> Results:
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']!r}, not {FORMAT}")
    return Results(
        server=_text(document["server"]),
        versions={name: _text(version) for name, version in document["versions"].items()},
        day=_text(document["day"]),
        large=bool(document["large"]),
        whole=bool(document["whole"]),
        differs=tuple(map(_text, document["differs"])),
        tables=tuple(_tables(document["tables"])),
    )


def _tables(tables: Any) -> Iterator[Table]:
    for table in tables:
        rows = tuple(
            Row(
                _text(row["name"]),
                {column: cell if isinstance(cell, str) else _number(cell) for column, cell in row["cells"].items()},
                {metric: _curve(curve) for metric, curve in row["curves"].items()},
            )
            for row in table["rows"]
        )
        subject, notes = table["subject"], tuple(map(_text, table["notes"]))
        yield Table(_text(table["title"]), subject and _text(subject), _text(table["over"]), rows, notes)


def _curve(curve: Any) -> Curve:
    points = {int(n): _number(value) for n, value in curve["points"].items()}
    return Curve(dict(sorted(points.items())), curve["growth"] and _text(curve["growth"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise TypeError(f"expected a figure, got {value!r}")
    return float(value)
