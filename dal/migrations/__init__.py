"""Bringing the tables of an older release to this one's while services go on writing: a file here for each version.

Each is run in a transaction of its own. It sets a lock_timeout, so that no writer queues up for long behind a file
that waits for a lock; it is then run again, after a random pause.
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
from dal.schema import VERSION, SchemaCheck, versions

_AGAIN = 19
"""How often a step is tried again."""

_FREE_LATER = (errors.LockNotAvailable, errors.DeadlockDetected, errors.ObjectNotInPrerequisiteState)
"""A lock was not free in time, or someone else had taken the step meanwhile: look again."""


def steps(version: int) -> list[Path]:
    """List the files that lead from this version to the release's own, in their order."""
    files = {int(path.name[:4]): path for path in Path(__file__).parent.glob("*.sql")}
    return [files[n] for n in range(version + 1, VERSION + 1)]


def missing(connection: psycopg.Connection) -> list[Path]:
    """List the steps that the tables lack; SchemaMismatch unless they can be brought to this release's version."""
    try:
        found = queries.schema.check(connection)
    except psycopg.Error as error:
        raise translate(error, "schema.check") from error
    version, _ = versions(found)
    if version >= VERSION:
        SchemaCheck().compare(found, connection)
    return steps(version)


def upgrade(connection: psycopg.Connection, tell: Callable[[str], None]) -> None:
    """Take every missing step, each in a transaction on this connection, and tell of it."""
    attempts = Attempts(_AGAIN, None)
    while left := missing(connection):
        step = left[0]
        try:
            with connection.transaction():
                connection.execute(step.read_bytes(), prepare=False)
        except _FREE_LATER as error:
            pause = attempts.pause()
            if pause is None:
                raise StatementFailed(
                    f"gave up after {attempts.made} times: {error.diag.message_primary}. A transaction that stays open "
                    "holds the tables (see pg_stat_activity); nothing was changed by this step, run it again later",
                    query=step.name,
                    sqlstate=error.sqlstate,
                ) from error
            tell(f"not yet: {error.diag.message_primary}; trying again")
            sleep(pause)
        except psycopg.Error as error:
            raise translate(error, step.name) from error
        else:
            attempts = Attempts(_AGAIN, None)
            tell(purpose(step))


def purpose(step: Path) -> str:
    """What a step does: the first line of its file."""
    return step.read_text(encoding="utf-8").partition("\n")[0].removeprefix("-- ")
