"""`dal delete-idle` and `dal purge`: delete sessions without activity, and what they leave, a few at a time."""

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
from dal.records import SessionRecord, Status
from dal.validate import make_cursor

_STEP = 500
"""Sessions to delete in one transaction: locks are held, and the work of an interrupted one is lost, only so long."""

_SHORT = 0.02
"""Seconds that a step takes with --load below 100, unless its only session is long. Writers compete with a step for
processors and the disk."""

_ALL = 100
"""Percent."""

_PAGE = 1000
"""Sessions to count at once."""


class Pace:
    """The number of sessions in a step, and the pauses between steps, so that deleting takes a share of the time."""

    def __init__(self, load: int) -> None:
        self.step = _STEP if load == _ALL else 1
        self._rest = (_ALL - load) / load
        self._began = time.perf_counter()

    def begin(self) -> int:
        """Return the number of sessions to delete in the step that begins now."""
        self._began = time.perf_counter()
        return self.step

    def end(self) -> None:
        """Pause after a step, and choose the next one by the time that this one took."""
        if not self._rest:
            return
        seconds = time.perf_counter() - self._began
        self.step = max(1, min(_STEP, 2 * self.step, int(self.step * _SHORT / seconds)))
        time.sleep(seconds * self._rest)


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
            help="Only those that are active, paused or archived; or those trashed since TIME or for this long.",
        ),
    ] = None,
    load: Annotated[
        int,
        typer.Option(
            "--load",
            metavar="PERCENT",
            min=1,
            max=_ALL,
            help="Below 100: delete in short steps, during this share of the time, so that writers wait less.",
        ),
    ] = _ALL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    yes: Yes = False,
) -> None:
    """Delete sessions without activity since some time, with their messages.

    It deletes up to 500 sessions in a transaction, and skips those that are in use. Run an interrupted one again to
    resume it. Exit status: 1 if sessions are left, since they were in use, or if you do not confirm.

    Examples: [bold]dal delete-idle --older-than 90d --dry-run[/bold], with the database in DAL_DSN,
    [bold]dal delete-idle --before 2026-01-01 --user u1 --yes[/bold]
    """
    since = _since(before, older_than)
    with connected(dsn, schema) as connection:
        store = SessionStore(connection, read_only=dry_run)
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
        _delete(store, since, status, total, Pace(load))
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
        typer.Option("--older-than", metavar="DURATION", help="Removed or deleted this long ago: 30m, 12h, 90d or 8w."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Remove what old changes leave: removed messages, and the tombstones of deleted sessions.

    It removes up to 500 of each in a transaction, and skips what is in use. A tombstone stays for at least an hour.
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
    """Remove them, and say how many, even if it is interrupted."""
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
    """Yield the idle sessions: the list is in the order of activity, so they are its end."""
    cursor: str | None = make_cursor(since, "0")
    while cursor is not None:
        page = store.sessions(status=cast("Status | None", status), limit=_PAGE, cursor=cursor)
        yield from (record for record in page if status is StatusChoice.TRASHED or record.updated_at < since)
        cursor = page.cursor


def _delete(store: SessionStore, since: datetime, status: StatusChoice | None, total: int | None, pace: Pace) -> None:
    """Delete the idle sessions, and say how many, even if it is interrupted."""
    deleted = 0
    try:
        with progress() as report:
            while ids := store.delete_idle(since, pace.begin(), status=cast("Status | None", status)):
                deleted += len(ids)
                report(f"{deleted:,} sessions deleted", min(1, deleted / total) if total else None)
                pace.end()
    finally:
        say(f"Deleted {deleted:,} sessions.")
