"""`dal export` and `dal import`: whole sessions as JSON Lines, to and from files and pipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dal._sync.store import SessionStore
from dal.cli.archives import read, reading, writing
from dal.cli.connection import connected
from dal.cli.schema import Dsn, Schema, given
from dal.errors import DalError
from dal.gate.cli.output import err

_MOST_PRINTED = 20
"""Refused sessions to print."""

File = Annotated[str, typer.Argument(metavar="FILE", help="A file, compressed if it ends in .gz or .zst; or a pipe.")]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help="Of this user alone.")]


def export(  # noqa: PLR0913 - options
    file: File = "-",
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    user: User = None,
    source: Annotated[str | None, typer.Option("--source", help="From this source alone, such as telegram.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Created from then on; UTC without an offset.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Created before then.")] = None,
) -> None:
    """Write sessions with their messages as JSON Lines, from one snapshot (docs/format.md).

    Without a file it writes to stdout. A file gets its name only when it is complete.

    Examples: [bold]dal export all.jsonl.gz --schema agents[/bold], with the database in DAL_DSN,
    [bold]dal export --user u1 --since 2026-01-01 | wc -l[/bold]
    """
    since_then, until_then = _moment("--since", since), _moment("--until", until)
    sessions = lines = 0
    with (
        connected(given(dsn), schema) as connection,
        _progress() as report,
        writing(file) as out,
    ):
        for chunk in SessionStore(connection).export(user_id=user, source=source, since=since_then, until=until_then):
            out.write(chunk)
            lines += chunk.count(b"\n")
            sessions += chunk.startswith(b'{"session":') + chunk.count(b'\n{"session":')
            report(f"{sessions:,} sessions, {lines - sessions:,} messages", None)
    err.print(f"Exported {sessions:,} sessions with {lines - sessions:,} messages.")


def import_(
    file: File = "-",
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    user: User = None,
) -> None:
    """Store the sessions and messages of a file from `dal export`, or in the same format (docs/format.md).

    Without a file it reads from stdin. Run an interrupted import again to resume it.
    Exit status: 1 if a session could not take its missing messages; the output names it.

    Examples: [bold]dal import all.jsonl.gz --schema agents[/bold], with the database in DAL_DSN,
    [bold]dal export --dsn postgresql://old/app | dal import --dsn postgresql://new/app[/bold]
    """
    with connected(given(dsn), schema) as connection, _progress() as report, reading(file) as (source, place):

        def chunks() -> Iterator[bytes]:
            lines = 0
            while chunk := read(source, file):
                lines += chunk.count(b"\n")
                report(f"{lines:,} lines", place())
                yield chunk

        store = SessionStore(connection)
        done = (store if user is None else store.for_user(user)).import_(chunks())
    err.print(
        f"Imported {done.sessions:,} new sessions, and {done.messages:,} messages; "
        f"{done.already_there:,} messages were there already."
    )
    for session_id, why in list(done.refused.items())[:_MOST_PRINTED]:
        err.print(f"Refused session {session_id!r}: {why}.", soft_wrap=True)
    if len(done.refused) > _MOST_PRINTED:
        err.print(f"… and {len(done.refused) - _MOST_PRINTED:,} more")
    if not done.analyzed:
        err.print("The planner's statistics are old: run ANALYZE sessions, messages as their owner.")
    if done.refused:
        raise typer.Exit(1)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DalError(f"{option}: {text!r} is not a time such as 2026-01-31 or 2026-01-31T12:00+01:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _progress() -> Iterator[Callable[[str, float | None], None]]:
    """Show the progress on a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)

        def tell(what: str, share: float | None) -> None:
            progress.update(task, description=what, completed=share or 0, total=None if share is None else 1)

        yield tell
