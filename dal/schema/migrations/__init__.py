"""Upgrade the tables of an older release while services write, with one file for each version.

A file runs in one transaction, unless it has the line `-- Run: each statement on its own`. It waits for a lock
at most half a second, so that no writer waits long behind it, and is tried again after a random pause. The files in
finish/ drop the objects that only older releases need, once none of them runs any more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import sleep

import psycopg
from psycopg import errors

from dal._sync.queries import queries
from dal.errors import StatementFailed, translate
from dal.retries import Attempts
from dal.schema.check import VERSION, usable_version, versions

_FOLDER = Path(__file__).parent

_AGAIN = 19
"""The number of retries of a step."""

_FREE_LATER = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.ObjectNotInPrerequisiteState,
    errors.UniqueViolation,
    errors.InternalError_,  # "tuple concurrently updated": of the catalog.
)
"""A lock was not free in time, or someone else was taking the step at the same time: look again."""

_ON_ITS_OWN = "\n-- Run: each statement on its own"


def steps(version: int) -> list[Path]:
    """List the files that upgrade this version to the release's own, in order."""
    files = {int(path.name[:4]): path for path in _FOLDER.glob("*.sql")}
    return [files[n] for n in range(version + 1, VERSION + 1)]


def missing(connection: psycopg.Connection) -> list[Path]:
    """List the missing steps; raise SchemaMismatch if the tables cannot be upgraded to this release's version."""
    try:
        found = queries.schema.check(connection)
    except psycopg.Error as error:
        raise translate(error, "schema.check") from error
    version, _ = versions(found)
    if version >= VERSION:
        usable_version(found)  # No more: an index may still be built by someone who upgrades at the same time.
    return steps(version)


def upgrade(connection: psycopg.Connection, report: Callable[[str], None]) -> None:
    """Run every missing step on this connection, and report each."""
    attempts = Attempts(_AGAIN, None)
    while left := missing(connection):
        if _taken(connection, left[0], attempts, report):
            attempts = Attempts(_AGAIN, None)


def finish(connection: psycopg.Connection, report: Callable[[str], None]) -> None:
    """Drop the objects that only older releases need."""
    if missing(connection):
        raise StatementFailed("the tables are not this release's yet; run `dal schema upgrade` first")
    for step in finishing():
        attempts = Attempts(_AGAIN, None)
        while not _taken(connection, step, attempts, report):
            pass


def finishing() -> list[Path]:
    """List the files that drop the objects of older releases."""
    return sorted((_FOLDER / "finish").glob("*.sql"))


def _taken(connection: psycopg.Connection, step: Path, attempts: Attempts, report: Callable[[str], None]) -> bool:
    """Run a file and report it; return False, after a pause, if it did not get a lock in time."""
    try:
        _run(connection, step.read_text(encoding="utf-8"))
    except _FREE_LATER as error:
        pause = attempts.pause()
        if pause is None:
            raise StatementFailed(
                f"gave up after {attempts.made} times: {error.diag.message_primary}. A transaction that stays open "
                "holds the tables (see pg_stat_activity); nothing was changed by this step, run it again later",
                query=step.name,
                sqlstate=error.sqlstate,
            ) from error
        report(f"not yet: {error.diag.message_primary}; trying again")
        sleep(pause)
        return False
    except psycopg.Error as error:
        raise translate(error, step.name) from error
    report(purpose(step))
    return True


def _run(connection: psycopg.Connection, text: str) -> None:
    if _ON_ITS_OWN in text:
        for statement in text.split(";\n\n"):
            connection.execute(statement.encode(), prepare=False)
        return
    with connection.transaction():
        connection.execute(text.encode(), prepare=False)


def purpose(step: Path) -> str:
    """Return the purpose of a step: the first line of its file."""
    return step.read_text(encoding="utf-8").partition("\n")[0].removeprefix("-- ")
