"""`dal sessions`: a page of the list of sessions."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, cast

import typer
from rich.table import Table

from dal._sync.store import SessionStore
from dal.cli.connection import connected
from dal.cli.options import Dsn, Format, Output, Schema, Source, User
from dal.cli.render import as_json, in_utc
from dal.gate.cli.output import err, out, visible
from dal.records import SessionPage, Status


class StatusChoice(StrEnum):
    """The statuses of sessions."""

    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"
    TRASHED = "trashed"


def sessions(  # noqa: PLR0913 - options
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    user: User = None,
    source: Source = None,
    parent: Annotated[
        str | None,
        typer.Option(
            "--parent", metavar="ID", help="Only this session's forks, and others that name it as their parent."
        ),
    ] = None,
    status: Annotated[
        list[StatusChoice] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only active, paused, archived or trashed ones. Repeat it for several. Default: all but trashed.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="At most this many sessions.")] = 50,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help="The next page, from the end of the page before.")
    ] = None,
    form: Output = Format.TEXT,
) -> None:
    """List sessions, latest activity first.

    With --format json it prints a line for each session. If there are more, stderr has the cursor of the next page.

    Examples: [bold]dal sessions --user u1 --status active --status paused[/bold], with the database in DAL_DSN,
    [bold]dal sessions --limit 1000 --format json | jq -r .session_id[/bold]
    """
    with connected(dsn, schema) as connection:
        store = SessionStore(connection, read_only=True)
        wanted = cast("list[Status] | None", status or None)
        page = store.sessions(user_id=user, source=source, parent_id=parent, status=wanted, limit=limit, cursor=cursor)
    if form is Format.JSON:
        for record in page:
            print(as_json(asdict(record)))
    elif page.sessions:
        out.print(_table(page))
    else:
        err.print("No such sessions.")
    if page.cursor is not None:
        err.print(f"There are more: add --cursor {shlex.quote(page.cursor)}", soft_wrap=True)


def _table(page: SessionPage) -> Table:
    table = Table()
    table.add_column("Session", style="bold", overflow="fold")
    for name in ("Source", "User", "Status"):
        table.add_column(name, overflow="fold")
    table.add_column("Messages", justify="right")
    table.add_column("Last activity (UTC)", no_wrap=True)
    for record in page:
        texts = (record.session_id, record.source or "", record.user_id or "", record.status)
        table.add_row(*map(visible, texts), f"{record.message_count:,}", in_utc(record.updated_at))
    return table
