"""`dal bench`: what the benchmarks have measured, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal.cli.extra import review_extra
from dal.cli.measuring import NOT_MEASURED
from dal.cli.output import complain
from dal.cli.output import out as told
from dal.review.results import NotResults, load

app = typer.Typer(
    help="Show what the benchmarks have measured: [dim]bench report[/dim].",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

LAST = Path(".benchmarks/last.json")
"""Where `uv run pytest bench` leaves its last run."""

_MAKE = "uv run pytest bench makes it"


@app.callback()
def _bench() -> None:
    """Have its command named, though there is one alone."""


@app.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="[RESULTS]", help="What a run has left behind.")] = LAST,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", dir_okay=False, help="Write all of it as a page, HTML.")
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option("--chart", metavar="FILE", dir_okay=False, help="Draw what an append costs in every way, as SVG."),
    ] = None,
) -> None:
    """Show the last run of the benchmarks: an append in every way as curves over the session's length, and all else.

    The page is one file that stands alone: no script, nothing loaded from elsewhere. Times are ratios within the run.
    The chart holds what comes out the same on any machine. Exit status: 2 if there is no run to show.

    Examples: [bold]uv run pytest bench && uv run dal bench report --out bench.html[/bold],
    [bold]dal bench report --chart docs/append.svg[/bold]
    """
    if out is None and chart is None:
        raise typer.BadParameter("give --out FILE for the page, --chart FILE for the chart of the appends, or both")
    with review_extra():
        from dal.review.benchmark import NotMeasured, append_chart, page  # noqa: PLC0415 - needs an extra
    try:
        run = load(results)
        written = {path: write(run) for path, write in ((out, page), (chart, append_chart)) if path}
    except (NotResults, NotMeasured) as error:
        complain(type(error)(f"{error}; {_MAKE}"))
        raise typer.Exit(NOT_MEASURED) from error
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        told.print(f"{path}: {len(run.tables)} tables, measured on {run.server}", soft_wrap=True)
