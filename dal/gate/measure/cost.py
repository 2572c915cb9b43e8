"""What an operation costs the server, by the server's own counters.

EXPLAIN leaves out what triggers of foreign keys do; the counters have it. Buffers and rows are those of the
connection's own transaction, in all schemas: neighbours are not in them. The WAL is counted from one transaction
to the next, so it has the commit; before PostgreSQL 18 it has what all neighbours write too, and so have the
temporary files: take the least of several. dal.gate.measure.turn counts a prepared statement without its neighbours.

The operation must use the connection that is given. Over an AsyncConnection, each function here is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from dal.gate.errors import InvalidInput
from dal.gate.header.promises import LOCK_MODES
from dal.gate.measure.either import Connection, either, entered, settled
from dal.gate.measure.sql import statements

_COUNTS_BACKENDS = 180000
"""The first PostgreSQL that counts a backend's own WAL."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What was touched and written; the same names on every version of PostgreSQL."""

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
    """The CPU time of the server's process; None where it was not measured."""
    sleeps: int | None = None
    """How often the server's process gave up its core to wait for something; None where that was not measured."""

    @property
    def buffers(self) -> int:
        """Shared buffers of all tables and indexes."""
        return sum(self.buffers_of.values())

    @property
    def hot_share(self) -> float:
        """Which share of the updates wrote to no index; 1 if nothing was updated."""
        return self.hot_updates / self.updates if self.updates else 1.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What the server has counted until a moment."""

    relations: Mapping[str, tuple[int, ...]]
    wal: tuple[int, ...] = (0, 0)
    temporary: tuple[int, ...] = (0, 0)

    def __sub__(self, before: Counters) -> Cost:
        """What was counted since."""
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


@either
async def cost_of(connection: Connection, operation: Callable[[], object], *, commit: bool = False) -> Cost:
    """Run an operation in a transaction of its own, which is rolled back unless asked, and return its cost.

    psycopg forgets what it has prepared when a transaction is rolled back: only with `commit` is an operation
    run as on a warm connection, where the server may have settled on a plan for all values.
    """
    __tracebackhide__ = True
    (cost,) = await whole_costs(connection, operation, 1, commit=commit)
    return cost


@either
async def least_cost_of(connection: Connection, operation: Callable[[], object], turns: int) -> Cost:
    """Run an operation some times as cost_of does, and return the least of each figure."""
    __tracebackhide__ = True
    return least(await whole_costs(connection, operation, turns, commit=False))


@either
async def counters_of(connection: Connection) -> Counters:
    """Read what the server has counted until now; what other connections do, once they have handed it in."""
    server = await _server(connection)
    return replace(server, relations=_by_relation(await _rows(connection, "relations")))


@either
async def touched_by(connection: Connection) -> dict[str, tuple[int, ...]]:
    """Read what the connection's transaction has touched until now, by table and index."""
    return _by_relation(await _rows(connection, "touched"))


@either
async def hand_in(connection: Connection) -> None:
    """Let a connection hand its counts in when its transaction ends; it keeps them for up to a second."""
    await _rows(connection, "flush")


@either
async def locks_of(connection: Connection, operation: Callable[[], object]) -> dict[str, str]:
    """Run an operation in a transaction that is rolled back, and return the strongest lock on each table."""
    __tracebackhide__ = True
    async with entered(connection.transaction(force_rollback=True)):
        await settled(operation())
        held = await _rows(connection, "locks")
    return strongest(held)


def strongest(held: Iterable[tuple[Any, ...]]) -> dict[str, str]:
    """Return the strongest lock on each table."""
    locks: dict[str, str] = {}
    for table, mode in held:
        locks[table] = max(mode, locks.get(table, mode), key=LOCK_MODES.index)
    return locks


def most(costs: Collection[Cost]) -> Cost:
    """The most of each figure: what it costs with the worse plan."""
    first = max(costs, key=lambda cost: cost.buffers)
    worst = min(costs, key=lambda cost: cost.hot_share)
    return _chosen(costs, max, buffers_of=first.buffers_of, updates=worst.updates, hot_updates=worst.hot_updates)


def least(costs: Collection[Cost]) -> Cost:
    """The least of each figure: what remains when neighbours are left out."""
    first = min(costs, key=lambda cost: cost.buffers)
    return _chosen(costs, min, buffers_of=first.buffers_of, updates=first.updates, hot_updates=first.hot_updates)


def _chosen(costs: Collection[Cost], choose: Callable[[list[Any]], Any], **together: Any) -> Cost:
    """Choose each figure of several costs by itself, apart from those that belong together."""
    names = [one.name for one in fields(Cost) if one.name not in together]
    for name in names:
        figures = [getattr(cost, name) for cost in costs]
        together[name] = None if None in figures else choose(figures)
    return Cost(**together)


async def whole_costs(
    connection: Connection, operation: Callable[[], object], turns: int, *, commit: bool
) -> list[Cost]:
    """What cost_of returns, some times, for functions that are made for either kind of connection themselves."""
    __tracebackhide__ = True
    _check(connection)
    costs = []
    before = await _server(connection)
    for _ in range(turns):
        async with entered(connection.transaction(force_rollback=not commit)):
            await _rows(connection, "serial")
            begun = _by_relation(await _rows(connection, "touched"))
            await settled(operation())
            await settled(connection.execute(statements.immediate.sql))
            ended = _by_relation(await _rows(connection, "touched"))
        after = await _server(connection)
        costs.append(replace(after, relations=ended) - replace(before, relations=begun))
        before = after
    return costs


def _check(connection: Connection) -> None:
    if not connection.autocommit:
        raise InvalidInput("connection", "must be in autocommit to measure on it; connect with autocommit=True")
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise InvalidInput("connection", "is inside a transaction, and a cost is that of a whole one")


async def _server(connection: Connection) -> Counters:
    """Read what is counted for the backend, where the server can tell, or for all."""
    await _rows(connection, "flush")
    own = connection.info.server_version >= _COUNTS_BACKENDS
    (wal,) = await _rows(connection, "wal_of_backend" if own else "wal")
    (temporary,) = await _rows(connection, "temporary")
    return Counters({}, tuple(map(int, wal)), tuple(map(int, temporary)))


def _by_relation(rows: Collection[tuple[Any, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(map(int, counts)) for name, *counts in rows}


async def _rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """Run a query file, whatever rows the caller's connection makes and however it prepares."""
    cursor: Any = connection.cursor(row_factory=tuple_row)
    await settled(cursor.execute(getattr(statements, query).sql, prepare=False))
    rows: list[tuple[Any, ...]] = await settled(cursor.fetchall())
    return rows
