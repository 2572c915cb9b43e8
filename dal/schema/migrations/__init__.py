"""Upgrade the tables of an older release while services write, with one file for each version.

A file runs in one transaction, unless it has the line `-- Run: each statement on its own`. It waits at most a quarter
of a second for each lock, so that no writer queues behind it for long, and is tried again after a random pause. On a
Citus cluster that applies to the locks on each node, and afterwards the functions are replaced by this release's. The
files in finish/ drop the objects that only older releases need, and change the types of columns. They run once no older
release runs any more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import sleep

import psycopg
from psycopg import errors

from dal._sync.queries import queries
from dal.driver_errors import translate
from dal.errors import StatementFailed
from dal.retries import Attempts
from dal.rows import SchemaFact
from dal.schema import distributed, drift
from dal.schema.check import VERSION, usable_version, versions

_FOLDER = Path(__file__).parent

_RETRIES = 19
"""Retries of a step."""

_TEMPORARY = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.ObjectNotInPrerequisiteState,
    errors.UniqueViolation,
    errors.InternalError_,  # "tuple concurrently updated", in the catalog.
)
"""Errors that a retry may overcome: a lock was not free in time, or another upgrade was running the same step."""

_WITHOUT_TRANSACTION = "\n-- Run: each statement on its own"

_CONCURRENTLY = " CONCURRENTLY "
"""In a statement that must be outside a transaction."""

_FUNCTIONS = "The functions of the distributed layout, which run on the workers"
"""The name of the step that creates them."""


def steps(version: int) -> list[Path]:
    """List the files that upgrade tables of this version to the release's own, in order."""
    files = {int(path.name[:4]): path for path in _FOLDER.glob("*.sql")}
    return [files[n] for n in range(version + 1, VERSION + 1)]


def missing(connection: psycopg.Connection) -> list[Path]:
    """List the missing steps; raise SchemaMismatch if the tables cannot be upgraded to this release's version."""
    found = _facts(connection)
    version, _ = versions(found)
    if version >= VERSION:
        usable_version(found)  # Not the definitions: another upgrade may still be building an index.
    return steps(version)


def missing_functions(connection: psycopg.Connection) -> str:
    """Return the SQL that creates the functions of the distributed layout; nothing if they are this release's."""
    found = _facts(connection)
    is_due = drift.is_distributed(found) and any(drift.other_functions(found))
    return f"-- {_FUNCTIONS}\n{distributed.script(with_tables=False).decode()}" if is_due else ""


def finishing(connection: psycopg.Connection) -> list[Path]:
    """List the files of finish/ that have not been run to their end, in order."""
    _, usable_from = versions(_facts(connection))
    return [path for path in sorted((_FOLDER / "finish").glob("*.sql")) if int(path.name[:4]) > usable_from]


def _facts(connection: psycopg.Connection) -> list[SchemaFact]:
    try:
        found: list[SchemaFact] = queries.schema.check(connection)
    except psycopg.Error as error:
        raise translate(error, "schema.check") from error
    return found


def upgrade(connection: psycopg.Connection, report: Callable[[str], None]) -> None:
    """Run every missing step on this connection, and report each."""
    _run_each(connection, missing, report)
    attempts = Attempts(_RETRIES, None)
    if text := missing_functions(connection):
        while not _try(connection, _FUNCTIONS, text, attempts, report):
            pass
        names = sorted({name for name, _ in drift.other_functions(_facts(connection))})
        if names:
            raise StatementFailed(
                f"functions of another release remain, with other parameters: {', '.join(names)}; drop these, once no "
                "older release runs any more, and run the upgrade again",
                query=_FUNCTIONS,
            )


def finish(connection: psycopg.Connection, report: Callable[[str], None]) -> None:
    """Run every missing file of finish/ on this connection, and report each."""
    if missing(connection):
        raise StatementFailed("the tables are older than this release; run `dal schema upgrade` first")
    _run_each(connection, finishing, report)


def _run_each(
    connection: psycopg.Connection,
    steps_left: Callable[[psycopg.Connection], list[Path]],
    report: Callable[[str], None],
) -> None:
    """Run the first file that is left until none is, and report each."""
    attempts = Attempts(_RETRIES, None)
    while left := steps_left(connection):
        if _try(connection, left[0].name, left[0].read_text(encoding="utf-8"), attempts, report):
            attempts = Attempts(_RETRIES, None)


def _try(
    connection: psycopg.Connection, name: str, text: str, attempts: Attempts, report: Callable[[str], None]
) -> bool:
    """Run the text of a file and report it; return False, after a pause, if it should be tried again."""
    try:
        _run(connection, text)
    except _TEMPORARY as error:
        pause = attempts.pause()
        if pause is None:
            raise StatementFailed(
                f"gave up after {attempts.made} attempts: {error.diag.message_primary}. A long transaction holds a "
                "lock on the tables (see pg_stat_activity); run the upgrade again once it has ended, which is safe",
                query=name,
                sqlstate=error.sqlstate,
            ) from error
        report(f"not yet: {error.diag.message_primary}; will try again")
        sleep(pause)
        return False
    except psycopg.Error as error:
        raise translate(error, name) from error
    report(_first_line(text))
    return True


def _run(connection: psycopg.Connection, text: str) -> None:
    on_cluster = drift.is_distributed(_facts(connection))
    is_one = _WITHOUT_TRANSACTION not in text
    for part in [text] if is_one else text.split(";\n\n"):
        if not is_one and (not on_cluster or _CONCURRENTLY in part):
            connection.execute(part.encode(), prepare=False)
            continue
        with connection.transaction():
            if on_cluster:
                connection.execute(distributed.LIMITS.read_bytes(), prepare=False)
            connection.execute(part.encode(), prepare=False)


def purpose(step: Path) -> str:
    """Return the first line of a file, which says what it is for."""
    return _first_line(step.read_text(encoding="utf-8"))


def _first_line(text: str) -> str:
    return text.partition("\n")[0].removeprefix("-- ")
