"""`dal check`: the gate."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dal.gate.cli.measuring import NOT_MEASURED, Large, OwnFixtures, Queries, Schema, measure
from dal.gate.cli.output import complain, out
from dal.gate.cli.servers import Dsn, ServerKind
from dal.gate.measure import outcome as reports
from dal.gate.measure.judge import Outcome

BROKEN = 1
"""The exit status when a promise is broken, even if another one could not be measured."""


class Form(StrEnum):
    """How the outcome is written."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"


_WRITERS = {
    Form.JSON: reports.as_json,
    Form.JUNIT: reports.as_junit,
    Form.GITHUB: reports.as_github,
    Form.MARKDOWN: reports.as_markdown,
}


def check(  # noqa: PLR0913 - options
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these queries.")] = None,
    *,
    queries: Queries = None,
    schema: Schema = None,
    fixtures: OwnFixtures = None,
    dsn: Dsn = None,
    server: ServerKind = None,
    large: Large = False,
    form: Annotated[Form, typer.Option("--format", help="How the outcome is written to stdout.")] = Form.TABLE,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="FORM=FILE", help="Write it in another form to a file too, as junit=check.xml."),
    ] = None,
) -> None:
    """Measure every promise of every query file, and fail if one is broken.

    What a file promises stands in its header: round trips, growth, locks, and plan nodes that never appear. It is
    measured in a scratch schema, which is dropped at the end, even when interrupted. Exit status: 0 if all are kept, 1
    if one is broken, 2 if one could not be measured.

    Examples: [bold]dal check[/bold], [bold]dal check --format markdown --also junit=check.xml[/bold],
    [bold]dal check --queries sql/ --schema schema.sql --fixtures fixtures.py[/bold]
    """
    files = [_file(one) for one in also or ()]
    report = measure(names, queries=queries, schema=schema, fixtures=fixtures, dsn=dsn, server=server, large=large)
    for kind, path in files:
        path.write_text(_WRITERS[kind](report) + "\n", encoding="utf-8")
    _show(report, form)
    if report.wanting:
        raise typer.Exit(BROKEN if report.of(Outcome.BROKEN) else NOT_MEASURED)


def _show(report: reports.Report, form: Form) -> None:
    if form is not Form.TABLE:
        sys.stdout.write(_WRITERS[form](report) + "\n")
        return
    table = Table(caption=report.summary, caption_justify="left")
    table.add_column("Query", style="bold", no_wrap=True)
    table.add_column("Promised", ratio=3)
    table.add_column("Measured", ratio=3)
    table.add_column("")
    shown = None
    for verdict in report.verdicts:
        table.add_row(
            verdict.query if verdict.query != shown else "",
            verdict.promised,
            verdict.measured,
            Text(verdict.outcome, style="green" if verdict.kept else "bold red"),
        )
        shown = verdict.query
    out.print(table)
    for verdict in report.wanting:
        complain(reports.where(verdict))


def _file(text: str) -> tuple[Form, Path]:
    form, _, path = text.partition("=")
    if form not in {*Form} - {Form.TABLE} or not path:
        raise typer.BadParameter(f"{text!r}: write it as junit=check.xml; there are json, junit, github and markdown")
    return Form(form), Path(path)
