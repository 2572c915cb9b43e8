"""`dal delete-idle` and `dal purge`: delete idle sessions, old tombstones and old removed messages, a few at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, cast

import typer

from dal._sync.store import SessionStore
from dal.cli.confirm import confirm, count
from dal.cli.connection import connected, place
from dal.cli.options import Dsn, Schema, User, Yes
from dal.cli.progress import progress
from dal.cli.render import in_utc
from dal.cli.sessions import StatusChoice
from dal.cli.times import ago, moment
from dal.gate.cli.exits import NEGATIVE
from dal.gate.cli.output import out, print_error, say
from dal.observe import Hook
from dal.records import SessionRecord, Status
from dal.validate import make_cursor

_STEP = 500
"""The most tombstones, and the most removed messages, to purge in one transaction."""

SESSIONS, MESSAGES = 100, 1000
"""The most sessions to delete in one transaction, and the most messages in one statement. Writers wait less if the
statements are short: these take some tens of milliseconds."""

LOAD = 50
"""The default share of the time, in percent, that is spent on deleting."""

_ALL = 100
"""Percent."""

_PAGE = 1000
"""Sessions on a page of the list that is counted."""


def delete_idle(  # noqa: PLR0913 - options
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="TIME", help="Sessions without activity since TIME. A TIME without an offset is in UTC."
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="DURATION", help="Without activity for this long: 30m, 12h, 90d or 8w."),
    ] = None,
    user: User = None,
    status: Annotated[
        StatusChoice | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only those that are active, paused or archived; or those in the trash since TIME or for DURATION.",
        ),
    ] = None,
    load: Annotated[
        int,
        typer.Option(
            "--load",
            metavar="PERCENT",
            min=1,
            max=_ALL,
            help="Delete during PERCENT of the time, and pause otherwise, so that writers wait less.",
        ),
    ] = LOAD,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    yes: Yes = False,
) -> None:
    """Delete sessions without activity since some time, with their messages.

    It deletes up to 100 sessions in a transaction, pauses after each statement, and skips sessions that are in use. If
    it is interrupted, run it again to resume. Exit status: 1 if sessions were skipped since they are in use, or if you
    do not confirm.

    Examples: [bold]dal delete-idle --older-than 90d --dry-run[/bold], with the database in DAL_DSN,
    [bold]dal delete-idle --before 2026-01-01 --user u1 --yes[/bold]
    """
    since = _since(before, older_than)
    with connected(dsn, schema) as connection:
        store = SessionStore(connection, read_only=dry_run, hook=pause(load))
        store = store if user is None else store.for_user(user)
        total = None
        if dry_run or not yes:
            total, messages = count(_idle(store, since, status))
            what = f"{total:,} sessions with {messages:,} messages, without activity since {in_utc(since)} UTC, "
            what += f"in {place(connection, schema)}"
            if dry_run:
                out.print(f"Would delete {what}.", soft_wrap=True)
                return
            confirm(what)
        _delete(store, since, status, total)
        if any(_idle(store, since, status)):
            print_error("sessions that are in use were skipped; run it again")
            raise typer.Exit(NEGATIVE)


def purge(
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="TIME", help="Removed or deleted before TIME. A TIME without an offset is in UTC."
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="DURATION", help="Removed or deleted longer ago: 30m, 12h, 90d or 8w."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Purge old removed messages, and old tombstones of deleted sessions.

    It purges up to 500 of each in a transaction, and skips locked rows. A tombstone is kept for at least an hour.
    Exit status: 1 if you do not confirm.

    Examples: [bold]dal purge --older-than 30d[/bold], with the database in DAL_DSN,
    [bold]dal purge --before 2026-01-01 --yes[/bold]
    """
    since = _since(before, older_than)
    with connected(dsn, schema) as connection:
        if not yes:
            where = place(connection, schema)
            confirm(f"removed messages and tombstones of before {in_utc(since)} UTC, in {where}")
        _purge(SessionStore(connection), since)


def _purge(store: SessionStore, since: datetime) -> None:
    """Purge them, and print how many, even if it is interrupted."""
    messages = tombstones = 0
    try:
        with progress() as report:
            while purged := store.purge(since, _STEP):
                messages += purged.removed_messages
                tombstones += purged.tombstones
                report(f"{messages:,} messages and {tombstones:,} tombstones purged", None)
    finally:
        say(f"Purged {messages:,} removed messages and {tombstones:,} tombstones.")


def _since(before: str | None, older_than: str | None) -> datetime:
    if before is not None and older_than is None:
        return moment("--before", before)
    if older_than is not None and before is None:
        return ago("--older-than", older_than)
    raise typer.BadParameter("give either --before or --older-than")


def _idle(store: SessionStore, since: datetime, status: StatusChoice | None) -> Iterator[SessionRecord]:
    """Yield the idle sessions. The list is in the order of activity, so they are at its end."""
    cursor: str | None = make_cursor(since, "0")
    while cursor is not None:
        page = store.sessions(status=cast("Status | None", status), limit=_PAGE, cursor=cursor)
        yield from (record for record in page if status is StatusChoice.TRASHED or record.updated_at < since)
        cursor = page.cursor


def pause(load: int) -> Hook:
    """Return a hook that pauses after each statement, so that the statements take this share of the time."""
    return lambda operation: time.sleep(operation.seconds * (_ALL - load) / load)


def _delete(store: SessionStore, since: datetime, status: StatusChoice | None, total: int | None) -> None:
    """Delete the idle sessions, and print how many, even if it is interrupted."""
    deleted, only = 0, cast("Status | None", status)
    try:
        with progress() as report:
            while ids := store.delete_idle(since, SESSIONS, status=only, message_limit=MESSAGES):
                deleted += len(ids)
                report(f"{deleted:,} sessions deleted", min(1, deleted / total) if total else None)
    finally:
        say(f"Deleted {deleted:,} sessions.")
