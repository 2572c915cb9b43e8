"""The output of the demo. Every figure was measured in this run."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from dal.demo.meter import Way
from dal.demo.tasks import Task
from dal.gate.server import Server

_TIMES = "\N{MULTIPLICATION SIGN}"

_NEAR = "; the server runs on this machine, so the times exclude the network, too"

_BRIEF = 100
"""Larger figures are shown without a fraction."""

NEXT = (
    "Next: dal queries messages.append prints the one statement of an append and explains why it is enough; "
    "the README shows the Python code that uses it."
)


def table(tasks: tuple[Task, ...], server: Server) -> Table:
    """Return a table with a section for each task, and a row for each way."""
    made = Table(
        title="What one operation takes",
        caption=(
            f"Measured in this run on {server}: round trips on the wire; rows and index entries from the server's "
            f"counters; time as a multiple of the row marked 1{_TIMES}. Each side has one connection. "
            "synchronous_commit is off for both, so the times exclude the disk"
            f"{_NEAR if server.kind != 'given' else ''}."
        ),
        caption_justify="left",
        box=box.ROUNDED,
    )
    made.add_column("")
    for heading in ("Round\ntrips", "Rows\nread", "Rows\nwritten", "Time"):
        made.add_column(heading, justify="right", no_wrap=True)
    for task in tasks:
        made.add_row(task.title, style="bold")
        ours = task.ways[-1]
        for way in task.ways:
            made.add_row(
                f"  {way.label}",
                _number(way.round_trips),
                _number(way.rows_read),
                _number(way.rows_written),
                _number(way.seconds / ours.seconds) + _TIMES,
                style="green" if way.connection is ours.connection else None,
                end_section=way is ours,
            )
    return made


def conclusions(tasks: tuple[Task, ...]) -> list[Text]:
    """Return a sentence for each task."""
    appending, silence, speaking, agents = (task.ways for task in tasks)
    lines = {
        "Append": (
            f"to store {appending[0].operations:,} messages, the usual way read {appending[0].all_read:,} rows in "
            f"{_all_trips(appending[0]):,} round trips, and this library {appending[-1].all_read:,} rows in "
            f"{_all_trips(appending[-1]):,}."
        ),
        "Lazy sessions": (
            f"of {silence[0].operations + speaking[0].operations:,} sessions, {silence[0].operations:,} never got a "
            f"message. The usual way wrote {silence[0].all_written:,} rows for those, in {_all_trips(silence[0]):,} "
            f"round trips; this library wrote {silence[-1].all_written:,}, in {_all_trips(silence[-1]):,}."
        ),
        "Agent ids": (
            f"the usual way read {_number(agents[0].rows_read)} rows, every time. This library's first read, which "
            f"also caches the answer, read {_number(agents[1].rows_read)}, and each later one "
            f"{_number(agents[-1].rows_read)}."
        ),
    }
    return [Text.assemble((f"{name}: ", "bold"), line) for name, line in lines.items()]


def _all_trips(way: Way) -> int:
    """Return the round trips of all operations, estimated from the sample."""
    return round(way.round_trips * way.operations)


def _number(value: float) -> str:
    """Return a figure with its significant digits only."""
    if value >= _BRIEF:
        return f"{value:,.0f}"
    shown = f"{value:.1f}".removesuffix(".0")
    return "<0.1" if shown == "0" and value else shown
