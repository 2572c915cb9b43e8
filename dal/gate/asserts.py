"""Assertions about round trips, cost, growth and plans, for the tests of a service.

The pytest plugin (dal.gate.pytest_plugin) has fixtures of the same names; pytest is not required. An AssertionError
shows the promise, the figures at each size, and the traffic. Every psycopg connection is accepted. With
an AsyncConnection, await all of them but `round_trips`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import psycopg

from dal.gate.header.promises import NODES, Growth, Never
from dal.gate.measure.failure_text import FIGURES, LABELS, NO_SIZE, report, sent
from dal.gate.measure.growth import SLACK, SLACK_OF, TOLERANCE, closest, fit
from dal.gate.measure.plans import Plan, plans_of
from dal.gate.measure.runs import SIZES, Run, run_of, runs_of
from dal.gate.measure.snapshot import held_snapshot, second_connection
from dal.gate.measure.sql import statements
from dal.gate.measure.sync_or_async import Connection, sync_or_async
from dal.gate.wire import Wire, watch

__all__ = ["assert_cost", "assert_growth", "assert_plan_never", "held_snapshot", "round_trips"]

_GROWTHS = {str(growth): growth for growth in Growth}

_NOTHING = "nothing was sent on this connection; pass the connection that the operation uses"


def round_trips(
    connection: Connection, exactly: int | None = None, *, at_most: int | None = None, warm: bool = False
) -> AbstractContextManager[Wire]:
    """Assert the number of round trips in a block.

        with round_trips(connection, 1):
            tasks.add("water the plants")

    Use a plain `with` for an AsyncConnection too. With `warm`, round trips that only prepare a statement do not count:
    a connection pays for them once, when psycopg sends a statement for the sixth time. The block's value is a
    dal.gate.wire.Wire, complete after the block.
    """
    if (exactly is None) == (at_most is None):
        raise TypeError("round_trips() takes either a number of round trips or at_most=")
    return _RoundTrips(connection, exactly, at_most, warm=warm)


class _RoundTrips:
    """A class instead of a generator, so that the traceback of a failure ends at the test's own line."""

    def __init__(self, connection: Connection, exactly: int | None, at_most: int | None, *, warm: bool) -> None:
        self._watching = watch(connection)
        self._exactly = exactly
        self._at_most = at_most
        self._warm = warm

    def __enter__(self) -> Wire:
        self._wire = self._watching.__enter__()
        return self._wire

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        self._watching.__exit__(None, None, None)
        if error is None:
            self._judge()

    def _judge(self) -> None:
        __tracebackhide__ = True
        wire = self._wire
        if self._at_most and not wire.round_trips:
            raise AssertionError(f"round trips: {_NOTHING}, or promise 0")
        counted = wire.round_trips - wire.preparing if self._warm else wire.round_trips
        if counted == self._exactly or (self._at_most is not None and counted <= self._at_most):
            return
        promised = f"at most {self._at_most}" if self._exactly is None else f"{self._exactly}"
        only = f", of which {wire.preparing} only prepared" if wire.preparing and not self._warm else ""
        warm = " on a warm connection" if self._warm else ""
        lines = [f"round trips: promised {promised}{warm}, measured {counted}{only}", "", *sent(wire)]
        raise AssertionError("\n".join(lines))


@sync_or_async
async def assert_cost(  # noqa: PLR0913 - one keyword per promise
    connection: Connection,
    operation: Callable[[], object],
    *,
    round_trips: int | None = None,
    buffers: int | None = None,
    rows: int | None = None,
    rows_written: int | None = None,
    wal_records: int | None = None,
    wal: int | None = None,
    temporary_files: int | None = None,
    hot_share: float | None = None,
    commit: bool = False,
) -> None:
    """Assert the maximum cost of an operation, and the minimum share of HOT updates.

    `rows` are rows that the server reads; `wal` is in bytes. The operation runs several times, each time in a
    transaction that is rolled back unless `commit` is true. The lowest value of each figure counts.
    """
    __tracebackhide__ = True
    promised = _given(
        round_trips=round_trips,
        buffers=buffers,
        rows=rows,
        rows_written=rows_written,
        wal_records=wal_records,
        wal=wal,
        temporary_files=temporary_files,
        hot_share=hot_share,
    )
    _judge(promised, {NO_SIZE: await run_of(connection, operation, commit=commit)})


@sync_or_async
async def assert_growth(  # noqa: PLR0913
    connection: Connection,
    grow: Callable[[int, int], object],
    operation: Callable[[], object],
    sizes: Sequence[int] = SIZES,
    *,
    round_trips: str | int | None = None,
    buffers: str | int | None = None,
    rows: str | int | None = None,
    rows_written: str | int | None = None,
    wal_records: str | int | None = None,
    wal: str | int | None = None,
    commit: bool = False,
) -> None:
    """Assert how the cost of an operation grows with its data: `buffers="O(log n)"`, or a maximum at every size.

    `grow(before, size)` grows the data from `before` rows (0 at first) to `size` rows; it may use any connection.
    Then the tables in the first schema of the search_path are vacuumed and analyzed, and the operation runs as in
    assert_cost. Classes are O(1), O(log n), O(n), O(n log n) and O(n^2); slower growth keeps the promise too.
    """
    __tracebackhide__ = True
    promised = _given(
        round_trips=round_trips,
        buffers=buffers,
        rows=rows,
        rows_written=rows_written,
        wal_records=wal_records,
        wal=wal,
    )
    if len(sizes) < 3 or list(sizes) != sorted(set(sizes)):  # noqa: PLR2004 - a line through two points always fits
        raise ValueError(f"sizes: expected three or more in ascending order, got {tuple(sizes)}")
    _judge(promised, await runs_of(connection, grow, operation, sizes, commit=commit))


@sync_or_async
async def assert_plan_never(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | Sequence[Any], *never: str
) -> None:
    """Assert that no plan of a statement has one of these nodes: `"Seq Scan on tasks"`, `"Sort"`.

    Both the plan for these values and the generic plan are checked, on the present data. The statement does not run.
    For an AsyncConnection, a second connection with the same search_path makes the plans.
    """
    __tracebackhide__ = True
    if not never:
        raise TypeError("assert_plan_never() needs at least one plan node, such as 'Seq Scan on tasks'")
    promised = [_never(one) for one in never]
    text, values = _named(statement, parameters)
    if isinstance(connection, psycopg.Connection):
        plans = _plans(connection, text, values, promised)
    else:
        cursor = connection.cursor(row_factory=psycopg.rows.tuple_row)
        row = await (await cursor.execute(statements.search_path.sql, prepare=False)).fetchone()
        with second_connection(connection) as second:
            statements.set_search_path(second, search_path=row and row[0])
            plans = _plans(second, text, values, promised)
    broken = [
        f"plan: promised never {one}, found in the {' and the '.join(modes)} plan"
        for one in promised
        if (modes := [mode for mode, plan in plans.items() if plan.breaks(one)])
    ]
    if broken:
        shapes = [f"  {mode:<8}{plan.shape}" for mode, plan in plans.items()]
        raise AssertionError("\n".join([*broken, "", *shapes, "", "of:", f"  {' '.join(statement.split())}"]))


def _never(text: str) -> Never:
    """Parse a forbidden node; raise ValueError if no plan can have it."""
    node, _, table = text.partition(" on ")
    if node not in NODES:
        raise ValueError(f"{text!r}: unknown plan node {node!r}; known: {', '.join(NODES)}")
    return Never(node, table or None, 0)


def _plans(
    connection: psycopg.Connection[Any], text: str, values: Mapping[str, Any], promised: Sequence[Never]
) -> dict[str, Plan]:
    """Return the plans of a statement; raise ValueError if a promise names an unknown table."""
    for table in {never.table for never in promised} - {None}:
        cursor = connection.cursor(row_factory=psycopg.rows.tuple_row)
        if cursor.execute(statements.has_table.sql, {"name": table}, prepare=False).fetchone() != (True,):
            raise ValueError(f"the database has no table {table}")
    return plans_of(connection, text, values)


def _given(**promised: str | float | None) -> dict[str, Growth | float]:
    given: dict[str, Growth | float] = {}
    for name, bound in promised.items():
        if isinstance(bound, str):
            if bound not in _GROWTHS:
                raise ValueError(f"{name}={bound!r}: unknown growth; known: {', '.join(_GROWTHS)}")
            given[name] = _GROWTHS[bound]
        elif bound is not None:
            given[name] = bound
    if not given:
        raise TypeError("no promise given; pass one, such as buffers=20")
    return given


def _judge(promised: Mapping[str, Growth | float], runs: Mapping[int, Run]) -> None:
    """Raise an AssertionError with every broken promise, or if nothing was sent."""
    __tracebackhide__ = True
    idle = [size for size, run in runs.items() if not run.wire.round_trips]
    if idle and promised.get("round_trips") != 0:
        where = "" if NO_SIZE in runs else f" at n = {', '.join(f'{size:,}' for size in idle)}"
        raise AssertionError(f"not measured{where}: {_NOTHING}")
    if broken := [line for name, bound in promised.items() if (line := _broken(name, bound, runs))]:
        raise AssertionError(report(broken, runs))


def _broken(name: str, bound: Growth | float, runs: Mapping[int, Run]) -> str | None:
    """Return the failure message of a promise, or None if it is kept."""
    values = {size: FIGURES[name](run) for size, run in runs.items()}
    if isinstance(bound, Growth):
        return _broken_growth(name, bound, values)
    if name == "hot_share":
        return _broken_hot_share(bound, values, runs)
    most = max(values.values())
    return None if most <= bound else f"{LABELS[name]}: promised at most {bound:,}, measured {most:,}"


def _broken_hot_share(bound: float, values: Mapping[int, float], runs: Mapping[int, Run]) -> str | None:
    promised, least = f"{LABELS['hot_share']}: promised at least {bound:,}", min(values.values())
    if not any(run.cost.updates for run in runs.values()):
        return f"{promised}, not measured: no row was updated"
    return None if least >= bound else f"{promised}, measured {least:,}"


def _broken_growth(name: str, bound: Growth, values: Mapping[int, float]) -> str | None:
    least, most = min(values.values()), max(values.values())
    slack = SLACK_OF["wal_bytes"] if name == "wal" else SLACK
    found = fit(values, slack).growth
    if name == "round_trips" and bound is Growth.CONSTANT:
        kept = least == most  # Round trips are exact: one more is growth.
    else:
        kept = found <= bound or closest(values, bound, slack).error <= TOLERANCE
    grown = f"{least:,} to {most:,}"
    return None if kept else f"{LABELS[name]}: promised {bound}, measured {grown}, which grows as {found}"


def _named(statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> tuple[str, Mapping[str, Any]]:
    """Return a statement with named parameters in place of positional ones."""
    if isinstance(parameters, Mapping):
        return statement, parameters
    names = (f"p{n}" for n in range(1, len(parameters) + 1))
    text = re.sub(r"%[%sbt]", lambda found: found[0] if found[0] == "%%" else f"%({next(names)})s", statement)
    return text, {f"p{n}": value for n, value in enumerate(parameters, start=1)}
