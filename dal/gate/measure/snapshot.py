"""Hold an old snapshot during a measurement, as a backup, a long report or a replica does in production.

While a snapshot is held, the server keeps every row version that was replaced since, so a row that is updated often
grows a chain of versions. Only a measurement under a held snapshot shows its cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from dal.gate.measure.sql import statements
from dal.gate.measure.sync_or_async import Connection

_A_MOMENT = 0.02


@contextmanager
def held_snapshot(where: Connection | str) -> Iterator[psycopg.Connection[Any]]:
    """Hold a REPEATABLE READ snapshot during the block, and yield its connection.

    `where` is a connection string, or a connection to the same database. Use a plain `with` in asynchronous code too;
    it blocks while it connects.
    """
    with second_connection(where) as holder:
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with holder.transaction(force_rollback=True):
            held = holder.execute(statements.hold.sql).fetchone()
            if held is None or not held[0]:
                raise RuntimeError("the server does not hold a snapshot for this transaction")
            yield holder


class Patience:
    """Waits for other connections to release older snapshots, for a limited time in total.

    Backups hold snapshots, and so do other gates on the same server. While one is held, figures are too high:
    rolled-back row versions fill a page until updates are no longer HOT, and index-only scans read the table.
    """

    def __init__(self, seconds: float = 60) -> None:
        """Wait at most this long in total, over all calls of `wait`."""
        self._seconds = seconds

    def wait(self, connection: psycopg.Connection[Any]) -> None:
        """Wait until no connection holds a snapshot from before this call. Do not call it in a transaction."""
        xid = statements.next_xid(connection)[0]
        started = monotonic()
        while statements.older_snapshots(connection, xid=xid)[0]:
            if monotonic() - started > self._seconds:
                break
            sleep(_A_MOMENT)
        self._seconds -= monotonic() - started


@contextmanager
def second_connection(where: Connection | str) -> Iterator[psycopg.Connection[Any]]:
    """Open a second, synchronous connection to the same database, in autocommit mode."""
    if isinstance(where, str):
        conninfo, password = where, None
    else:
        conninfo, password = where.info.dsn, where.info.password or None  # The dsn omits the password.
    second: psycopg.Connection[Any] = psycopg.connect(
        conninfo, password=password, autocommit=True, row_factory=tuple_row
    )
    try:
        yield second
    finally:
        second.close()
