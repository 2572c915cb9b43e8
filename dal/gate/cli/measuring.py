"""Measuring from the command line: the options, the server, the scratch schema and the progress bar."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dal.cli.connection import connected
from dal.cli.demo import Kind, announce, choice
from dal.cli.output import complain, err
from dal.cli.stop import whole
from dal.conninfo import with_schema
from dal.errors import DalError, InvalidInput
from dal.measure import fixtures as own_fixtures
from dal.measure import scratch
from dal.measure.calls import FixtureCalls, FixtureError, load_fixtures
from dal.measure.gate import LARGEST, Gate, SchemaRefused, default_sizes, sizes_up_to
from dal.measure.header import PromiseError
from dal.measure.measured import Measured
from dal.measure.outcome import Report, make
from dal.measure.subjects import Fixtures, QueryFileError, Subject, load
from dal.server import VARIABLE, serve

Queries = Annotated[Path, typer.Option("--queries", exists=True, help="A folder of aiosql query files, or one.")]
Schema = Annotated[Path, typer.Option("--schema", exists=True, dir_okay=False, help="What makes their tables.")]
OwnFixtures = Annotated[
    Path | None,
    typer.Option("--fixtures", exists=True, dir_okay=False, help="A Python file that defines grow() and parameters()."),
]
Dsn = Annotated[
    str | None, typer.Option("--dsn", metavar="CONNINFO", help=f"Measure on this server. Default: {VARIABLE}, if set.")
]
ServerKind = Annotated[
    Kind | None, typer.Option("--server", metavar="KIND", help="embedded (the default), embedded-16 or container.")
]
Large = Annotated[
    bool,
    typer.Option(
        "--large",
        help="On as much data as the fixtures can make: of ours a session of a million messages, and ten million in "
        "the table, which takes about 20 minutes and 6 GB on 2 cores.",
    ),
]

NOT_MEASURED = 2
"""The exit status when a promise could not be measured; `dal check` gives 1 for a broken one."""

_REASONS = (QueryFileError, DalError, psycopg.Error)


def measure(  # noqa: PLR0913 - the options of two commands
    names: list[str] | None,
    *,
    queries: Path,
    schema: Path,
    fixtures: Path | None,
    dsn: str | None,
    server: Kind | None,
    large: bool,
) -> Report:
    """Measure every promise of these queries; if that is impossible, tell why and end with NOT_MEASURED."""
    with _complaining(schema):
        subjects = _subjects(queries, names)
        data: Fixtures = load_fixtures(fixtures) if fixtures else own_fixtures
        sizes = _sizes(data, large=large)
        text = schema.read_text(encoding="utf-8")
        with whole(serve(choice(dsn, server))) as running:
            announce(running)
            measured = _measure(running.conninfo, text, data, subjects, sizes)
            return make(str(running), text, measured)


@contextmanager
def _complaining(schema: Path) -> Iterator[None]:
    """End with NOT_MEASURED on an error that is the user's to mend; one in the fixtures keeps its traceback."""
    try:
        yield
    except PromiseError as error:
        for problem in error.problems:
            complain(problem)
    except FixtureError as error:
        traceback.print_exception(error.__cause__)
        complain(error)
    except SchemaRefused as error:
        complain(f"{schema}: {error}")
    except _REASONS as error:
        complain(error)
    except Exception:  # noqa: BLE001 - Python's own exit status would be that of a broken promise
        traceback.print_exc()
    else:
        return
    raise typer.Exit(NOT_MEASURED)


def _subjects(queries: Path, names: list[str] | None) -> list[Subject]:
    subjects = load(queries)
    unknown = set(names or ()) - {subject.name for subject in subjects}
    if unknown:
        raise InvalidInput("NAME", f"no query {', '.join(sorted(unknown))} in {queries}")
    return [subject for subject in subjects if not names or subject.name in names]


def _sizes(data: Fixtures, *, large: bool) -> Callable[[str], Sequence[int]]:
    if callable(getattr(data, "largest", None)):
        calls = FixtureCalls(data)
        return lambda axis: sizes_up_to(calls.largest(axis) if large else min(calls.largest(axis), LARGEST))
    if large:
        raise InvalidInput("--large", "needs fixtures that define largest(axis): how far each axis can grow")
    return default_sizes


def _measure(
    conninfo: str, schema: str, data: Fixtures, subjects: list[Subject], sizes: Callable[[str], Sequence[int]]
) -> list[Measured]:
    conninfo = with_schema(conninfo, f"dal_check_{secrets.token_hex(4)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
            begun = count()
            gate = Gate(
                lambda: psycopg.connect(conninfo, autocommit=True),
                schema,
                data,
                sizes=sizes,
                begin=lambda told: progress.update(task, completed=next(begun), description=told),
            )
            task = progress.add_task("", total=gate.steps(subjects))
            return gate.measure(subjects)
    finally:
        with whole(connected(conninfo)) as connection:
            scratch.drop(connection)
