"""`dal export` and `dal import`: whole sessions as JSON Lines, to and from files and pipes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from dal._sync.store import SessionStore
from dal.cli.archives import read, reading, writing
from dal.cli.connection import connected
from dal.cli.options import Dsn, Schema, Source, User
from dal.cli.progress import progress
from dal.cli.times import moment
from dal.gate.cli.exits import NEGATIVE
from dal.gate.cli.files import Force
from dal.gate.cli.output import err, errors

_MOST_PRINTED = 20
"""Refused sessions to print."""

File = Annotated[str, typer.Argument(metavar="FILE", help="A file, compressed if it ends in .gz or .zst; or a pipe.")]


def export(  # noqa: PLR0913 - options
    file: File = "-",
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    user: User = None,
    source: Source = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only sessions created at TIME or later. A TIME without an offset is in UTC.",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only sessions created before TIME.")
    ] = None,
    force: Force = False,
) -> None:
    """Write sessions with their messages as JSON Lines, from one snapshot (docs/format.md).

    Without a file it writes to stdout. A file gets its name only when it is complete. A file with content is replaced
    only with --force.

    Examples: [bold]dal export all.jsonl.gz --schema agents[/bold], with the database in DAL_DSN,
    [bold]dal export --user u1 --since 2026-01-01 | wc -l[/bold]
    """
    since_then = None if since is None else moment("--since", since)
    until_then = None if until is None else moment("--until", until)
    sessions = lines = 0
    with connected(dsn, schema) as connection, progress() as report, writing(file, force=force) as out:
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
    with connected(dsn, schema) as connection, progress() as report, reading(file) as (source, place):

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
        errors.print(f"Refused session {session_id!r}: {why}.", soft_wrap=True)
    if len(done.refused) > _MOST_PRINTED:
        errors.print(f"… and {len(done.refused) - _MOST_PRINTED:,} more")
    if not done.analyzed:
        err.print("The planner's statistics are old: run ANALYZE sessions, messages as their owner.")
    if done.refused:
        raise typer.Exit(NEGATIVE)
