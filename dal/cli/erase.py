"""`dal erase-user`: delete everything that is stored of a user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from dal._sync.store import SessionStore
from dal.cli.confirm import confirm, count
from dal.cli.connection import connected, place
from dal.cli.options import Dsn, Schema, Yes
from dal.cli.progress import progress
from dal.gate.cli.output import out
from dal.records import STATUSES, Erased, SessionRecord

_STEP = 100
"""Sessions to delete in one transaction, as store.erase_user does."""

_PAGE = 1000
"""Sessions to count at once."""


def erase_user(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    yes: Yes = False,
) -> None:
    """Delete everything that is stored of a user: sessions of any status, their messages, and removed messages.

    It deletes up to 100 sessions in a transaction, and waits for those that are in use. Run an interrupted one again to
    resume it. Only the tombstones are left: the sessions' ids and times. Exit status: 1 if you do not confirm.

    Examples: [bold]dal erase-user u1[/bold], with the database in DAL_DSN, [bold]dal erase-user u1 --yes[/bold]
    """
    with connected(dsn, schema) as connection:
        store = SessionStore(connection)
        total, messages = count(_sessions(store, user))
        if not yes:
            where = place(connection, schema)
            confirm(f"everything of user {user}, {total:,} sessions with {messages:,} messages, in {where}")
        forks = _erase(store, user, total)
    for fork in forks:
        out.print(f"Session {fork} of another user is a fork, and still has messages of this user.", soft_wrap=True)


def _sessions(store: SessionStore, user: str) -> Iterator[SessionRecord]:
    for status in STATUSES:
        cursor, is_last = None, False
        while not is_last:
            page = store.sessions(user_id=user, status=status, limit=_PAGE, cursor=cursor)
            yield from page
            cursor, is_last = page.cursor, page.cursor is None


def _erase(store: SessionStore, user: str, total: int) -> tuple[str, ...]:
    """Erase the user, print what was deleted, even if it is interrupted, and return the forks of others."""
    receipt = Erased()

    def remember(so_far: Erased) -> None:
        nonlocal receipt
        receipt = so_far
        report(f"{receipt.sessions:,} sessions deleted", min(1, receipt.sessions / total) if total else None)

    try:
        with progress() as report:
            receipt = store.erase_user(user, _STEP, progress=remember)
    finally:
        out.print(
            f"Deleted {receipt.sessions:,} sessions, {receipt.messages:,} messages and "
            f"{receipt.removed_messages:,} removed messages.",
            soft_wrap=True,
        )
    return receipt.forks
