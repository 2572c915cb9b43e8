"""`dal check`: the gate."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dal.gate.cli.exits import FAILED, NEGATIVE
from dal.gate.cli.files import Force, refuse_overwriting, write_text
from dal.gate.cli.measure import Large, OwnFixtures, Queries, Schema, measure
from dal.gate.cli.output import out, print_error
from dal.gate.cli.project import Files
from dal.gate.cli.servers import Dsn, ServerKind
from dal.gate.measure import reports
from dal.gate.measure.judge import Outcome


class Format(StrEnum):
    """Output formats."""

    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"
    GITHUB = "github"
    MARKDOWN = "markdown"


_WRITERS = {
    Format.JSON: reports.as_json,
    Format.JUNIT: reports.as_junit,
    Format.GITHUB: reports.as_github,
    Format.MARKDOWN: reports.as_markdown,
}


_STYLES = {Outcome.KEPT: "green", Outcome.ELSEWHERE: "dim"}


def check(  # noqa: PLR0913 - options
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Measure only these queries.")] = None,
    *,
    queries: Queries = None,
    schema: Schema = None,
    fixtures: OwnFixtures = None,
    dsn: Dsn = None,
    server: ServerKind = None,
    large: Large = False,
    distributed: Annotated[
        bool,
        typer.Option("--distributed", help="Measure remote commands and round trips on a Citus cluster (--dsn)."),
    ] = False,
    form: Annotated[
        Format, typer.Option("--format", metavar="FORMAT", help="table, json, junit, github or markdown.")
    ] = Format.TABLE,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="FORMAT=FILE", help="Also write a file, as in junit=check.xml."),
    ] = None,
    force: Force = False,
) -> None:
    """Measure every promise of every query file, and fail if one is broken.

    Query files make promises in their headers: round trips, growth, locks, and plan nodes that never appear. They are
    measured in a scratch schema, which is dropped at the end, even after Ctrl-C. Exit status: 0 if all promises are
    kept, 1 if one is broken, 2 if one was not measured.

    Without --queries, --schema and --fixtures, it uses the paths in the table tool.session-dal.gate of pyproject.toml.

    Examples: [bold]dal check[/bold], [bold]dal check --format markdown --also junit=check.xml[/bold],
    [bold]dal check --queries sql/ --schema schema.sql --fixtures fixtures.py[/bold],
    [bold]dal check --distributed --dsn postgresql://me@coordinator/mine[/bold]
    """
    outputs = [_output(one) for one in also or ()]
    for _, path in outputs:
        refuse_overwriting(path, force=force)
    files = Files(queries, schema, fixtures)
    report = measure(names, files, dsn=dsn, server=server, large=large, distributed=distributed)
    for kind, path in outputs:
        write_text(path, _WRITERS[kind](report) + "\n")
    _show(report, form)
    if report.failures:
        raise typer.Exit(NEGATIVE if report.of(Outcome.BROKEN) else FAILED)


def _show(report: reports.Report, form: Format) -> None:
    if form is not Format.TABLE:
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
            Text(verdict.outcome, style=_STYLES.get(verdict.outcome, "bold red")),
        )
        shown = verdict.query
    out.print(table)
    for verdict in report.failures:
        print_error(reports.where(verdict))


def _output(text: str) -> tuple[Format, Path]:
    form, _, path = text.partition("=")
    if form not in {*Format} - {Format.TABLE} or not path:
        raise typer.BadParameter(f"{text!r}: expected json=FILE, junit=FILE, github=FILE or markdown=FILE")
    return Format(form), Path(path)
