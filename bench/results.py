"""What a run of the benchmarks leaves behind, as a file: tables, curves, and what it ran on.

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
    """The file is not there, or not what this release's benchmarks write."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure of a row over n."""

    points: Mapping[int, float]
    growth: str | None = None
    """The class that it grows in; without one it is a time, as a ratio."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: what does not hang on n, and what does, each by its column."""

    name: str
    cells: Mapping[str, str | float] = field(default_factory=dict)
    """A number is a ratio of times."""
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the run."""

    title: str
    subject: str | None
    """What its figures are called in the baseline, if they are compared."""
    over: str
    """What n is, where the title does not say it."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The rows' names; a row's place among them is how it looks in every chart."""
        return [row.name for row in self.rows]

    def metrics(self, *, timed: bool) -> tuple[str, ...]:
        """What there are curves of: times, or what does not hang on the machine."""
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
    """Whether every benchmark was run, and passed."""
    differs: tuple[str, ...]
    """What the baseline says otherwise."""
    tables: tuple[Table, ...]

    def save(self, path: Path) -> None:
        """Write them to a file, whose folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1)
        path.write_text(f"{text}\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read what `save` has written; NotResults if that is impossible."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotResults(f"there is no {path}") from error
    except OSError as error:
        raise NotResults(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise NotResults(f"{path} is no JSON: {error}") from error
    try:
        return _results(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotResults(f"{path} is not what this release's benchmarks write: {error!r}") from error


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
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise TypeError(f"{value!r} is no figure")
    return float(value)
