"""The page of a benchmark run, and the chart of the appends for the README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curves import Curves, bars, beside, curves, swatch
from markupsafe import Markup
from results import Results, Table

from dal.gate.review.render import templates
from dal.gate.review.svg import inline, standalone

_MARK = Markup('<meta name="generator" content="bench/show.py">')

_templates = templates(Path(__file__).parent / "templates")

_COUNTED = "round trips"
"""This column becomes bars if its rows differ."""


class NotMeasured(Exception):
    """The run does not have the figures of the chart."""


def page(results: Results) -> str:
    """Return a self-contained page with everything that a run measured."""
    sections = [_section(place, table) for place, table in enumerate(results.tables, start=1)]
    return _templates.get_template("benchmark.html").render(mark=_MARK, run=results, sections=sections)


def append_chart(results: Results) -> str:
    """Return an SVG of the figures of an append that are the same on every machine."""
    table = next((table for table in results.tables if table.subject == "append"), None)
    if table is None:
        raise NotMeasured("the run has not measured what an append costs")
    pictures = {_COUNTED: bars(table.names, _counts(table), _COUNTED)}
    for metric in table.metrics(timed=False):
        shown = _drawn(table, metric)
        pictures[metric] = curves(table.names, shown, metric, timed=False, over="messages in the session")
    label = "What one append takes, in each of these ways"
    return standalone(beside(pictures, label, columns=2), label, _templates.get_template("colours.css").render())


def _section(place: int, table: Table) -> dict[str, Any]:
    """Return the template values of a table."""
    heading, _, remark = table.title.partition("; ")
    grown, timed = ({metric: _sizes(table, metric) for metric in table.metrics(timed=kind)} for kind in (False, True))
    lined = {row for metric in (*grown, *timed) for row in _drawn(table, metric)}
    return {
        "id": f"table-{place}",
        "heading": heading[0].upper() + heading[1:],
        "remark": remark,
        "rows": table.rows,
        "notes": table.notes,
        "over": table.over,
        "charts": dict(_charts(table)),
        "legend": {row: swatch(place) for place, row in enumerate(table.names) if row in lined},
        "columns": _columns(table),
        "grown": grown,
        "timed": timed,
    }


def _columns(table: Table) -> tuple[list[str], list[str]]:
    """Return the columns that do not depend on n: those before the first time, and the others."""
    cells = {column: cell for row in table.rows for column, cell in row.cells.items()}
    first = next((place for place, cell in enumerate(cells.values()) if not isinstance(cell, str)), len(cells))
    return list(cells)[:first], list(cells)[first:]


def _charts(table: Table) -> Iterator[tuple[str, Markup]]:
    counts = _counts(table)
    if len(set(counts.values())) > 1:
        yield _COUNTED, inline(bars(table.names, counts, _COUNTED), f"{table.title}: {_COUNTED}")
    for timed in (False, True):
        for metric in table.metrics(timed=timed):
            if shown := _drawn(table, metric):
                picture = curves(table.names, shown, metric, timed=timed, over=table.over)
                yield metric, inline(picture, f"{table.title}: {metric}")


def _counts(table: Table) -> Mapping[str, int]:
    counts = {row.name: row.cells.get(_COUNTED) for row in table.rows}
    return {name: int(count) for name, count in counts.items() if isinstance(count, str) and count.isdecimal()}


def _drawn(table: Table, metric: str) -> Curves:
    """Return the curves of a metric. A single point is only shown in the table."""
    found = {row.name: row.curves[metric].points for row in table.rows if metric in row.curves}
    return {name: points for name, points in found.items() if len(points) > 1}


def _sizes(table: Table, metric: str) -> list[int]:
    return sorted({n for row in table.rows if metric in row.curves for n in row.curves[metric].points})
