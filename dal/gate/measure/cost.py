"""Measure what an operation costs the server, using the server's own counters.

Unlike EXPLAIN, the counters include the triggers of foreign keys. Buffers and rows are those of the connection's own
transaction, in all schemas. The WAL is counted from one transaction to the next, so it includes the commit. Temporary
files, and before PostgreSQL 18 the WAL, include those of other connections, so take the lowest of several runs.
dal.gate.measure.turn measures a prepared statement without that noise.

The operation must use the given connection. With an AsyncConnection, await each function.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from dal.gate.errors import InvalidInput
from dal.gate.header.promises import LOCK_MODES
from dal.gate.measure.sql import statements
from dal.gate.measure.sync_or_async import Connection, enter, resolve, sync_or_async

_COUNTS_BACKENDS = 180000
"""The first PostgreSQL version that counts the WAL of a backend."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an operation, with the same names on every PostgreSQL version."""

    buffers_of: Mapping[str, int] = field(hash=False)
    """Shared buffers by table and index."""
    rows_read: int
    rows_written: int
    updates: int
    hot_updates: int
    wal_records: int
    wal_bytes: int
    temporary_bytes: int
    temporary_files: int = 0
    cpu_ms: float | None = None
    """The CPU time of the server process; None if not measured."""
    sleeps: int | None = None
    """The number of times that the server process gave up its core to wait; None if not measured."""

    @property
    def buffers(self) -> int:
        """Return the shared buffers of all tables and indexes."""
        return sum(self.buffers_of.values())

    @property
    def hot_share(self) -> float:
        """Return the share of HOT updates, which write to no index; 1 if nothing was updated."""
        return self.hot_updates / self.updates if self.updates else 1.0


@dataclass(frozen=True, slots=True)
class Counters:
    """The server's counters at a point in time."""

    relations: Mapping[str, tuple[int, ...]]
    wal: tuple[int, ...] = (0, 0)
    temporary: tuple[int, ...] = (0, 0)

    def __sub__(self, before: Counters) -> Cost:
        """Return the difference as a cost."""
        nothing = (0, 0, 0, 0, 0)
        moved = {
            relation: tuple(
                now - then for now, then in zip(counts, before.relations.get(relation, nothing), strict=True)
            )
            for relation, counts in self.relations.items()
        }
        _, rows_read, rows_written, updates, hot_updates = map(sum, zip(nothing, *moved.values(), strict=True))
        wal_records, wal_bytes = (now - then for now, then in zip(self.wal, before.wal, strict=True))
        files, size = (now - then for now, then in zip(self.temporary, before.temporary, strict=True))
        return Cost(
            buffers_of={relation: counts[0] for relation, counts in sorted(moved.items()) if counts[0]},
            rows_read=rows_read,
            rows_written=rows_written,
            updates=updates,
            hot_updates=hot_updates,
            wal_records=wal_records,
            wal_bytes=wal_bytes,
            temporary_bytes=size,
            temporary_files=files,
        )


@sync_or_async
async def cost_of(connection: Connection, operation: Callable[[], object], *, commit: bool = False) -> Cost:
    """Run an operation in a transaction and return its cost. The transaction is rolled back unless `commit` is true.

    psycopg forgets its prepared statements when a transaction is rolled back, so only `commit` measures a warm
    connection, on which the server may use a generic plan.
    """
    __tracebackhide__ = True
    (cost,) = await costs_of(connection, operation, 1, commit=commit)
    return cost


@sync_or_async
async def least_cost_of(connection: Connection, operation: Callable[[], object], turns: int) -> Cost:
    """Run an operation several times like cost_of, and return the lowest value of each figure."""
    __tracebackhide__ = True
    return least(await costs_of(connection, operation, turns, commit=False))


@sync_or_async
async def counters_of(connection: Connection) -> Counters:
    """Return the server's counters, including those that other connections have flushed."""
    server = await _server(connection)
    return replace(server, relations=_by_relation(await _rows(connection, "relations")))


@sync_or_async
async def transaction_counters(connection: Connection) -> dict[str, tuple[int, ...]]:
    """Return the counters of the current transaction, by table and index."""
    return _by_relation(await _rows(connection, "touched"))


@sync_or_async
async def flush_counters(connection: Connection) -> None:
    """Flush the counters of a connection at the end of its transaction, instead of up to a second later."""
    await _rows(connection, "flush")


@sync_or_async
async def locks_of(connection: Connection, operation: Callable[[], object]) -> dict[str, str]:
    """Run an operation in a transaction that is rolled back; return the strongest lock on each table."""
    __tracebackhide__ = True
    async with enter(connection.transaction(force_rollback=True)):
        await resolve(operation())
        held = await _rows(connection, "locks")
    return strongest(held)


def strongest(held: Iterable[tuple[Any, ...]]) -> dict[str, str]:
    """Return the strongest lock on each table."""
    locks: dict[str, str] = {}
    for table, mode in held:
        locks[table] = max(mode, locks.get(table, mode), key=LOCK_MODES.index)
    return locks


def most(costs: Collection[Cost]) -> Cost:
    """Return the highest value of each figure."""
    first = max(costs, key=lambda cost: cost.buffers)
    worst = min(costs, key=lambda cost: cost.hot_share)
    return _chosen(costs, max, buffers_of=first.buffers_of, updates=worst.updates, hot_updates=worst.hot_updates)


def least(costs: Collection[Cost]) -> Cost:
    """Return the lowest value of each figure, which excludes the noise of other connections."""
    first = min(costs, key=lambda cost: cost.buffers)
    return _chosen(costs, min, buffers_of=first.buffers_of, updates=first.updates, hot_updates=first.hot_updates)


def _chosen(costs: Collection[Cost], choose: Callable[[list[Any]], Any], **fixed: Any) -> Cost:
    """Choose each figure by itself, except for the given ones, which belong to one cost."""
    names = [one.name for one in fields(Cost) if one.name not in fixed]
    for name in names:
        figures = [getattr(cost, name) for cost in costs]
        fixed[name] = None if None in figures else choose(figures)
    return Cost(**fixed)


async def costs_of(connection: Connection, operation: Callable[[], object], turns: int, *, commit: bool) -> list[Cost]:
    """Return the cost of each turn. Unlike cost_of, this is a coroutine function for both kinds of connections."""
    __tracebackhide__ = True
    _check(connection)
    costs = []
    before = await _server(connection)
    for _ in range(turns):
        async with enter(connection.transaction(force_rollback=not commit)):
            await _rows(connection, "serial")
            begun = _by_relation(await _rows(connection, "touched"))
            await resolve(operation())
            await resolve(connection.execute(statements.immediate.sql))
            ended = _by_relation(await _rows(connection, "touched"))
        after = await _server(connection)
        costs.append(replace(after, relations=ended) - replace(before, relations=begun))
        before = after
    return costs


def _check(connection: Connection) -> None:
    if not connection.autocommit:
        raise InvalidInput("connection", "is not in autocommit mode; connect with autocommit=True")
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise InvalidInput("connection", "is inside a transaction; a cost is measured for a whole transaction")


async def _server(connection: Connection) -> Counters:
    """Return the WAL and temporary files of the backend, or of the server if it does not count them per backend."""
    await _rows(connection, "flush")
    own = connection.info.server_version >= _COUNTS_BACKENDS
    (wal,) = await _rows(connection, "wal_of_backend" if own else "wal")
    (temporary,) = await _rows(connection, "temporary")
    return Counters({}, tuple(map(int, wal)), tuple(map(int, temporary)))


def _by_relation(rows: Collection[tuple[Any, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(map(int, counts)) for name, *counts in rows}


async def _rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """Run a statement, independent of the connection's row factory and of prepared statements."""
    cursor: Any = connection.cursor(row_factory=tuple_row)
    await resolve(cursor.execute(getattr(statements, query).sql, prepare=False))
    rows: list[tuple[Any, ...]] = await resolve(cursor.fetchall())
    return rows
