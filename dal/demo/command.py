"""The command `dal demo`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dal._sync.store import SessionStore
from dal.conninfo import with_schema, with_timeout
from dal.demo import report, tasks
from dal.demo.meter import count_round_trips, take_turns
from dal.demo.tasks import Sizes, Stage, Task
from dal.gate.cli.output import err, out
from dal.gate.cli.servers import Dsn, ServerKind, choice, started
from dal.gate.cli.signals import uninterrupted
from dal.gate.measure import scratch
from dal.gate.server import serve
from dal.schema.check import require_server

_TIMEOUT = 10
"""Seconds to wait for a server."""


def demo(
    *,
    dsn: Dsn = None,
    server: ServerKind = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do a tenth of the work; the times are less exact.")] = False,
) -> None:
    """Run three common tasks both ways, with the usual SQL and with session-dal, and print a comparison.

    It works in a temporary schema, and drops it at the end, even if it is interrupted.

    Examples: [bold]dal demo[/bold], [bold]dal demo --dsn postgresql://me@localhost/mine[/bold]
    """
    chosen = choice(dsn, server)
    sizes = tasks.QUICK if quick else tasks.FULL
    with ExitStack() as stack:
        running = stack.enter_context(started(serve(chosen)))
        conninfo = stack.enter_context(uninterrupted(_scratch(running.conninfo)))
        results = _run(conninfo, sizes)
    out.print(report.table(results, running))
    for line in (*report.conclusions(results), report.NEXT):
        out.print()
        out.print(line)


@contextmanager
def _scratch(conninfo: str) -> Iterator[str]:
    """Create a schema for a block, and yield a connection string for it."""
    given = str(conninfo_to_dict(conninfo).get("options") or "")
    options = " ".join(filter(None, (given, "-c synchronous_commit=off")))
    name = f"dal_demo_{secrets.token_hex(4)}"
    place = with_timeout(with_schema(make_conninfo(conninfo, options=options), name), _TIMEOUT)
    with psycopg.connect(place, autocommit=True) as connection:
        require_server(connection)
        with connection.transaction():
            scratch.create(connection)
            SessionStore(connection).apply_schema()
    try:
        yield place
    finally:
        with psycopg.connect(place, autocommit=True) as connection:
            scratch.drop(connection)


def _run(conninfo: str, sizes: Sizes) -> tuple[Task, ...]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        psycopg.connect(conninfo) as usual,
        psycopg.connect(conninfo, autocommit=True) as ours,
        psycopg.connect(conninfo, autocommit=True) as watcher,
        Progress(*columns, console=err, disable=not err.is_terminal) as progress,
    ):
        stage = Stage(usual, ours, sizes)
        return tuple(_run_one(name, make, stage, watcher, progress) for name, make in tasks.ALL.items())


def _run_one(
    name: str, make: Callable[[Stage], Task], stage: Stage, watcher: psycopg.Connection, progress: Progress
) -> Task:
    bar = progress.add_task(name, total=None)
    task = make(stage)
    progress.update(bar, total=sum(way.operations for way in task.ways))
    for way in task.ways:
        count_round_trips(way)
    take_turns(task.ways, task.turns, watcher, lambda done: progress.advance(bar, done))
    return task
