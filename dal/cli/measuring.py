"""Measuring from the command line: the options, the server, the scratch schema and the progress bar."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from aiosql.utils import SQLLoadException, SQLParseException
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dal.cli.connection import connected
from dal.cli.demo import Kind, choice
from dal.cli.output import complain, err
from dal.cli.stop import whole
from dal.conninfo import with_schema
from dal.errors import DalError
from dal.measure import fixtures as own_fixtures
from dal.measure.gate import Gate, Measured, drop
from dal.measure.outcome import Report, make
from dal.measure.promises import PromiseError
from dal.measure.subjects import Fixtures, Subject, load, load_fixtures
from dal.server import serve

Queries = Annotated[Path, typer.Option("--queries", exists=True, help="A folder of aiosql query files, or one.")]
Schema = Annotated[Path, typer.Option("--schema", exists=True, dir_okay=False, help="What makes their tables.")]
OwnFixtures = Annotated[
    Path | None,
    typer.Option("--fixtures", exists=True, dir_okay=False, help="A Python file that defines grow() and parameters()."),
]
Dsn = Annotated[str | None, typer.Option("--dsn", metavar="CONNINFO", help="Measure on this server.")]
ServerKind = Annotated[
    Kind | None, typer.Option("--server", metavar="KIND", help="embedded (the default), embedded-16 or container.")
]

NOT_MEASURED = 2
"""The exit status when a promise could not be measured; `dal check` gives 1 for a broken one."""

_REASONS = (PromiseError, SQLLoadException, SQLParseException, DalError, psycopg.Error, LookupError, TypeError)


def measure(  # noqa: PLR0913 - the options of two commands
    names: list[str] | None,
    *,
    queries: Path,
    schema: Path,
    fixtures: Path | None,
    dsn: str | None,
    server: Kind | None,
) -> Report:
    """Measure every promise of these queries; if that is impossible, tell why and end with NOT_MEASURED."""
    try:
        subjects = _subjects(queries, names)
        data: Fixtures = load_fixtures(fixtures) if fixtures else own_fixtures
        text = schema.read_text(encoding="utf-8")
        with whole(serve(choice(dsn, server))) as running:
            measured = _measure(running.conninfo, text, data, subjects)
            return make(str(running), text, measured)
    except _REASONS as error:
        complain(error)
        raise typer.Exit(NOT_MEASURED) from error


def _subjects(queries: Path, names: list[str] | None) -> list[Subject]:
    subjects = load(queries)
    unknown = set(names or ()) - {subject.name for subject in subjects}
    if unknown:
        raise LookupError(f"no query {', '.join(sorted(unknown))} in {queries}")
    return [subject for subject in subjects if not names or subject.name in names]


def _measure(conninfo: str, schema: str, data: Fixtures, subjects: list[Subject]) -> list[Measured]:
    scratch = with_schema(conninfo, f"dal_check_{secrets.token_hex(4)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
            task = progress.add_task("", total=Gate.steps(subjects))
            gate = Gate(
                lambda: psycopg.connect(scratch, autocommit=True),
                schema,
                data,
                done=lambda told: progress.update(task, advance=1, description=told),
            )
            return gate.measure(subjects)
    finally:
        with whole(connected(scratch)) as connection:
            drop(connection)
