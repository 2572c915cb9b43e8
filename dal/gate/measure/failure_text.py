"""The text of a failed assertion: the promise, everything measured at each size, and the traffic."""

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
"""The figures that can be promised, by their names in a test."""

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
"""The size of a measurement on the present data."""

_WIDTH = 300
"""The maximum length of a statement; its beginning identifies it."""

_MOST = 20
"""The maximum number of statements."""


_HOW = {"query": "", "prepare": "[prepared only] ", "prepared": "[as prepared] ", "other": "[protocol] "}


def report(broken: Sequence[str], runs: Mapping[int, Run]) -> str:
    """Return the text of a failure: the broken promises, all figures and the traffic."""
    sizes = list(runs)
    return "\n".join(
        [*broken, "", *_figures(runs), *_relations(runs), "", *sent(runs[sizes[-1]].wire, _at(sizes[-1:]))]
    )


def sent(wire: Wire, where: str = "") -> Iterator[str]:
    """Yield the traffic, by round trip."""
    trips = f"{wire.round_trips} round trip{'' if wire.round_trips == 1 else 's'}"
    yield f"sent{where}, in {trips} ({wire.bytes_sent:,} bytes out, {wire.bytes_received:,} bytes in):"
    groups = [list(group) for _, group in groupby(wire.statements, _alike)]
    for group in groups[:_MOST]:
        first, last = group[0].round_trip, group[-1].round_trip
        trip = f"{first}" if first == last else f"{first}-{last}"
        times = f" ({len(group):,} times)" if len(group) > 1 else ""
        yield f"  {trip:>5}  {_shown(group[0])}{times}"
    if len(groups) > _MOST:
        yield f"         and {len(groups) - _MOST:,} more"


def _alike(statement: Statement) -> tuple[str, str]:
    return statement.how, statement.text


def _shown(statement: Statement) -> str:
    text = " ".join(statement.text.split())
    text = text if len(text) <= _WIDTH else text[:_WIDTH] + "…"
    return _HOW[statement.how] + text


def _figures(runs: Mapping[int, Run]) -> Iterator[str]:
    """Yield a line per size, without figures that are 0 (or a HOT share that is 1) at every size."""
    columns = {label: [FIGURES[name](run) for run in runs.values()] for name, label in LABELS.items()}
    whole = {LABELS["hot_share"]: 1.0}
    columns = {label: values for label, values in columns.items() if set(values) != {whole.get(label, 0)}}
    sizes = [] if NO_SIZE in runs else [("n", [f"{size:,}" for size in runs])]
    table = [*sizes, *((label, [_number(value) for value in values]) for label, values in columns.items())]
    widths = [max(map(len, [label, *cells])) for label, cells in table]
    for row in zip(*([label, *cells] for label, cells in table), strict=True):
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _relations(runs: Mapping[int, Run]) -> Iterator[str]:
    """Yield the buffers by table and index at the smallest and the largest size."""
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
    text = " and ".join(f"{size:,}" for size in sizes if size != NO_SIZE)
    return f" at n = {text}" if text else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
