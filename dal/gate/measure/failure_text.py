"""The text of a broken promise: what was promised, what was measured, at which sizes, and what was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from dal.gate.measure.runs import Run
from dal.gate.wire import Statement, Wire

FIGURES: dict[str, Callable[[Run], float]] = {
    "round_trips": lambda run: run.wire.round_trips,
    "buffers": lambda run: run.cost.buffers,
    "rows": lambda run: run.cost.rows_read,
    "rows_written": lambda run: run.cost.rows_written,
    "wal_records": lambda run: run.cost.wal_records,
    "wal": lambda run: run.cost.wal_bytes,
    "temporary_files": lambda run: run.cost.temporary_files,
    "hot_share": lambda run: run.cost.hot_share,
}
"""What a promise can be about, by the name that it has in a test, and where it is found."""

LABELS = {
    "round_trips": "round trips",
    "buffers": "buffers",
    "rows": "rows read",
    "rows_written": "rows written",
    "wal_records": "WAL records",
    "wal": "WAL bytes",
    "temporary_files": "temporary files",
    "hot_share": "HOT share",
}

NO_SIZE = 0
"""The size of what was measured on the data as they are."""

_WIDTH = 300
"""Of a statement that is shown; its beginning says which it is."""

_MOST = 20
"""Statements that are shown."""


_HOW = {"query": "", "prepare": "[prepared only] ", "prepared": "[as prepared] ", "other": "[protocol] "}


def report(broken: Sequence[str], runs: Mapping[int, Run]) -> str:
    """Tell which promises are broken, and all that was measured."""
    sizes = list(runs)
    return "\n".join(
        [*broken, "", *_figures(runs), *_relations(runs), "", *sent(runs[sizes[-1]].wire, _at(sizes[-1:]))]
    )


def sent(wire: Wire, where: str = "") -> Iterator[str]:
    """Tell what went over the wire, by round trip."""
    trips = f"{wire.round_trips} round trip{'' if wire.round_trips == 1 else 's'}"
    yield f"sent{where}, in {trips} of {wire.bytes_sent:,} bytes there and {wire.bytes_received:,} back:"
    groups = [list(group) for _, group in groupby(wire.statements, _alike)]
    for group in groups[:_MOST]:
        first, last = group[0].round_trip, group[-1].round_trip
        trip = f"{first}" if first == last else f"{first}-{last}"
        times = f" ({len(group):,} times)" if len(group) > 1 else ""
        yield f"  {trip:>5}  {_told(group[0])}{times}"
    if len(groups) > _MOST:
        yield f"         and {len(groups) - _MOST:,} more"


def _alike(statement: Statement) -> tuple[str, str]:
    return statement.how, statement.text


def _told(statement: Statement) -> str:
    text = " ".join(statement.text.split())
    text = text if len(text) <= _WIDTH else text[:_WIDTH] + "…"
    return _HOW[statement.how] + text


def _figures(runs: Mapping[int, Run]) -> Iterator[str]:
    """One line for each size; what is nothing at all of them is left out, and so is a HOT share that is whole."""
    columns = {label: [FIGURES[name](run) for run in runs.values()] for name, label in LABELS.items()}
    whole = {LABELS["hot_share"]: 1.0}
    columns = {label: values for label, values in columns.items() if set(values) != {whole.get(label, 0)}}
    sizes = [] if NO_SIZE in runs else [("n", [f"{size:,}" for size in runs])]
    table = [*sizes, *((label, [_number(value) for value in values]) for label, values in columns.items())]
    widths = [max(map(len, [label, *cells])) for label, cells in table]
    for row in zip(*([label, *cells] for label, cells in table), strict=True):
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _relations(runs: Mapping[int, Run]) -> Iterator[str]:
    """Where the buffers are, at the least and the largest size."""
    shown = list(dict.fromkeys([min(runs), max(runs)]))
    names = sorted({name for size in shown for name in runs[size].cost.buffers_of})
    if not names:
        return
    yield ""
    yield f"buffers by table and index{_at(shown)}:"
    for name in names:
        cells = (f"{runs[size].cost.buffers_of.get(name, 0):>7,}" for size in shown)
        yield f"  {name:<{max(map(len, names))}}{''.join(cells)}"


def _at(sizes: Sequence[int]) -> str:
    told = " and ".join(f"{size:,}" for size in sizes if size != NO_SIZE)
    return f" at n = {told}" if told else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
