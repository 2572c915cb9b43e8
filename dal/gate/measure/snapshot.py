"""An old snapshot beside what is measured: a backup, a long report or a replica's feedback holds one in production.

While it is held, no row version that has ended since can be removed, so that a row which is updated again
and again leaves a chain behind. No measurement without one shows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from dal.gate.measure.either import Connection
from dal.gate.measure.sql import statements

_A_MOMENT = 0.02


@contextmanager
def held_snapshot(where: Connection | str) -> Iterator[psycopg.Connection[Any]]:
    """Hold a REPEATABLE READ snapshot for the length of the block, on a connection of its own, which is given.

    `where` is a connection string, or a connection of either kind to the same database. It is a plain `with`
    in asynchronous code too, and blocks for as long as connecting takes.
    """
    with twin(where) as holder:
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with holder.transaction(force_rollback=True):
            held = holder.execute(statements.hold.sql).fetchone()
            if held is None or not held[0]:
                raise RuntimeError("the server holds no snapshot for a transaction that has run a query")
            yield holder


class Patience:
    """Waits until nobody else's snapshot is older than what has just been stored, but no longer than it is worth.

    Three gates on one server hold snapshots, and so do backups. Beside one, versions of a row that were rolled back
    fill its page until an update is no longer HOT, and scans of an index look into its table: figures are then not
    those of the statement.
    """

    def __init__(self, seconds: float = 60) -> None:
        """Wait so long in all."""
        self._seconds = seconds

    def wait(self, connection: psycopg.Connection[Any]) -> None:
        """Wait, outside of any transaction."""
        xid = statements.next_xid(connection)[0]
        started = monotonic()
        while statements.older_snapshots(connection, xid=xid)[0]:
            if monotonic() - started > self._seconds:
                break
            sleep(_A_MOMENT)
        self._seconds -= monotonic() - started


@contextmanager
def twin(where: Connection | str) -> Iterator[psycopg.Connection[Any]]:
    """Open a second connection, synchronous and in autocommit, to where the first goes."""
    if isinstance(where, str):
        conninfo, password = where, None
    else:
        conninfo, password = where.info.dsn, where.info.password or None  # The dsn leaves it out.
    second: psycopg.Connection[Any] = psycopg.connect(
        conninfo, password=password, autocommit=True, row_factory=tuple_row
    )
    try:
        yield second
    finally:
        second.close()
