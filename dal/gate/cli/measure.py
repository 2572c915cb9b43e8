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

from dal.gate.cli.output import complain, err
from dal.gate.cli.project import path_of
from dal.gate.cli.servers import Kind, announce, choice
from dal.gate.cli.stop import whole
from dal.gate.conninfo import with_schema, with_timeout
from dal.gate.errors import FixtureError, GateError, InvalidInput, SchemaRefused
from dal.gate.header.parse import PromiseError
from dal.gate.measure import scratch
from dal.gate.measure.calls import FixtureCalls, load_fixtures
from dal.gate.measure.gate import LARGEST, Gate, default_sizes, sizes_up_to
from dal.gate.measure.measured import Measured
from dal.gate.measure.outcome import Report, make
from dal.gate.measure.subjects import Fixtures, Subject, load
from dal.gate.server import serve

Queries = Annotated[
    Path | None, typer.Option("--queries", exists=True, help="A folder of aiosql query files, or one file.")
]
Schema = Annotated[
    Path | None, typer.Option("--schema", exists=True, dir_okay=False, help="A SQL file that creates their tables.")
]
OwnFixtures = Annotated[
    Path | None,
    typer.Option("--fixtures", exists=True, dir_okay=False, help="A Python file that defines grow() and parameters()."),
]
Large = Annotated[
    bool,
    typer.Option(
        "--large",
        help="Measure at the largest sizes that the fixtures support (their `largest()`).",
    ),
]

NOT_MEASURED = 2
"""The exit status when a promise could not be measured; `dal check` gives 1 for a broken one."""

_TIMEOUT = 10
"""Seconds to wait for a connection."""

_REASONS = (GateError, psycopg.Error)


def measure(  # noqa: PLR0913 - the options of two commands
    names: list[str] | None,
    *,
    queries: Path | None,
    schema: Path | None,
    fixtures: Path | None,
    dsn: str | None,
    server: Kind | None,
    large: bool,
) -> Report:
    """Measure every promise of these queries; if that is impossible, tell why and end with NOT_MEASURED."""
    with _complaining():
        subjects = _subjects(path_of("queries", queries), names)
        data = load_fixtures(path_of("fixtures", fixtures))
        sizes = _sizes(data, large=large)
        schema = path_of("schema", schema)
        text = schema.read_text(encoding="utf-8")
        with whole(serve(choice(dsn, server))) as running, _naming(schema):
            announce(running)
            measured = _measure(running.conninfo, text, data, subjects, sizes)
            return make(str(running), text, measured)


@contextmanager
def _complaining() -> Iterator[None]:
    """End with NOT_MEASURED on an error that is the user's to mend; one in the fixtures keeps its traceback."""
    try:
        yield
    except PromiseError as error:
        for problem in error.problems:
            complain(problem)
    except FixtureError as error:
        traceback.print_exception(error.__cause__)
        complain(error)
    except _REASONS as error:
        complain(error)
    except Exception:  # noqa: BLE001 - Python's own exit status would be that of a broken promise
        traceback.print_exc()
    else:
        return
    raise typer.Exit(NOT_MEASURED)


@contextmanager
def _naming(schema: Path) -> Iterator[None]:
    """Name the schema file in the server's error about it."""
    try:
        yield
    except SchemaRefused as error:
        raise SchemaRefused(f"{schema}: {error}") from error


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
    conninfo = with_timeout(with_schema(conninfo, f"dal_check_{secrets.token_hex(4)}"), _TIMEOUT)
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
        with whole(psycopg.connect(conninfo, autocommit=True)) as connection:
            scratch.drop(connection)
