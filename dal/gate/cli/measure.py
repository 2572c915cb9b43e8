"""Measure from the command line: options, server, scratch schema and progress bar."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import psycopg
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dal.gate.cli import project
from dal.gate.cli.exits import FAILED
from dal.gate.cli.output import err, print_error
from dal.gate.cli.project import Distributed, Files
from dal.gate.cli.servers import Kind, choice, started
from dal.gate.cli.signals import uninterrupted
from dal.gate.conninfo import with_schema, with_timeout
from dal.gate.errors import FixtureError, GateError, InvalidInput, SchemaRefused
from dal.gate.header.parse import PromiseError
from dal.gate.measure import scratch
from dal.gate.measure.cluster import ClusterGate
from dal.gate.measure.context import context_of
from dal.gate.measure.fixtures import load_fixtures
from dal.gate.measure.gate import Gate, sizes_along
from dal.gate.measure.measurement import Measurement
from dal.gate.measure.reports import Report, make
from dal.gate.measure.subjects import Fixtures, Subject, load
from dal.gate.server import Server, serve

Queries = Annotated[
    Path | None,
    typer.Option("--queries", metavar="PATH", exists=True, help="A folder of aiosql query files, or one file."),
]
Schema = Annotated[
    Path | None,
    typer.Option("--schema", metavar="FILE", exists=True, dir_okay=False, help="A SQL file that creates their tables."),
]
OwnFixtures = Annotated[
    Path | None,
    typer.Option(
        "--fixtures",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A Python file that defines grow() and parameters().",
    ),
]
Large = Annotated[
    bool,
    typer.Option(
        "--large",
        help="Measure at the largest sizes that the fixtures support (their `largest()`).",
    ),
]

log = logging.getLogger(__name__)

_TIMEOUT = 10
"""Seconds to wait for a connection."""

Connect = Callable[[], psycopg.Connection[Any]]

REASONS = (GateError, psycopg.Error)
"""The errors that explain themselves: they are shown without a traceback."""


@dataclass(frozen=True, slots=True)
class Job:
    """Queries to measure, with all that a measurement needs except a server."""

    queries: Path
    schema: Path
    data: Fixtures
    subjects: Sequence[Subject]
    sizes: Callable[[str], Sequence[int]]
    distributed: Distributed | None = None
    """The other files for a cluster; None to measure on one server."""

    def run(self, server: Server, label: str = "") -> Report:
        """Measure every promise of these queries. The progress bar shows the label."""
        files = [self.schema, *(self.distributed.schema if self.distributed else ())]
        text = "\n".join(file.read_text(encoding="utf-8") for file in files)
        with _naming_schema(self.schema):
            measured = self._measure(with_schema(server.conninfo, f"dal_check_{secrets.token_hex(4)}"), text, label)
        with _connect(server.conninfo) as connection:
            context = context_of(connection, self.queries)
        return make(str(server), text, context, measured)

    def _measure(self, conninfo: str, schema: str, label: str) -> list[Measurement]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        try:
            with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
                begun, start = count(), monotonic()

                def begin(step: str) -> None:
                    progress.update(task, completed=next(begun), description=label + step)
                    log.debug("%s, begun after %.0f s", label + step, monotonic() - start)

                gate = self._gate(lambda: _connect(conninfo), schema, begin)
                task = progress.add_task("", total=gate.steps(self.subjects))
                return gate.measure(self.subjects)
        finally:
            with uninterrupted(_connect(conninfo)) as connection:
                scratch.drop(connection)

    def _gate(self, connect: Connect, schema: str, begin: Callable[[str], None]) -> Gate | ClusterGate:
        if self.distributed:
            return ClusterGate(connect, schema, self.data, begin=begin)
        return Gate(connect, schema, self.data, sizes=self.sizes, begin=begin)


def job_of(names: Sequence[str] | None, files: Files, *, large: bool, other: Distributed | None = None) -> Job:
    """Load the queries, or only those with these names, and their fixtures."""
    queries = files.path("queries")
    subjects = _subjects(queries, names, other.queries if other else None)
    data = load_fixtures((other and other.fixtures) or files.path("fixtures"))
    return Job(queries, files.path("schema"), data, subjects, sizes_along(data, large=large), other)


def measure(  # noqa: PLR0913 - the options of a command
    names: Sequence[str] | None,
    files: Files,
    *,
    dsn: str | None,
    server: Kind | None,
    large: bool,
    distributed: bool = False,
) -> Report:
    """Measure every promise of these queries; on an error, print it and exit with FAILED."""
    with exit_on_error(), server_on_demand(dsn, server) as running:
        job = job_of(names, files, large=large, other=project.distributed() if distributed else None)
        return job.run(running())


@contextmanager
def server_on_demand(dsn: str | None, kind: Kind | None) -> Iterator[Callable[[], Server]]:
    """Yield a function that returns the server. The first call starts it; the end of the block stops it."""
    with ExitStack() as stack:

        @cache
        def server() -> Server:
            return stack.enter_context(started(serve(choice(dsn, kind))))

        yield server


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an error and exit with FAILED. An error in the fixtures keeps its traceback."""
    try:
        yield
    except PromiseError as error:
        for problem in error.problems:
            print_error(problem)
    except FixtureError as error:
        traceback.print_exception(error.__cause__)
        print_error(error)
    except REASONS as error:
        print_error(error)
    except Exception:  # noqa: BLE001 - Python would exit with 1, which means a broken promise
        traceback.print_exc()
    else:
        return
    raise typer.Exit(FAILED)


@contextmanager
def _naming_schema(schema: Path) -> Iterator[None]:
    """Name the schema file in the server's error about it."""
    try:
        yield
    except SchemaRefused as error:
        raise SchemaRefused(f"{schema}: {error}") from error


def _subjects(queries: Path, names: Sequence[str] | None, others: Path | None = None) -> list[Subject]:
    replaced = {subject.name: subject for subject in load(others)} if others else {}
    subjects = [replaced.get(subject.name, subject) for subject in load(queries)]
    unknown = set(names or ()) - {subject.name for subject in subjects}
    if unknown:
        raise InvalidInput("NAME", f"no query {', '.join(sorted(unknown))} in {queries}")
    return [subject for subject in subjects if not names or subject.name in names]


def _connect(conninfo: str) -> psycopg.Connection[Any]:
    return psycopg.connect(with_timeout(conninfo, _TIMEOUT), autocommit=True)
