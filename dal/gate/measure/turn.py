"""Measure a prepared statement in turns that are rolled back, independent of other connections.

Buffers and rows are those of the transaction. WAL and temporary files are from EXPLAIN of a function that
runs the statement and all its triggers. CPU time and sleeps are those of the server process; the server reports them
only to superusers, and to roles with the privilege.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from dal.gate.measure.cost import Cost, Counters, least, transaction_counters
from dal.gate.measure.prepared import Prepared
from dal.gate.measure.scratch import vacuum
from dal.gate.measure.sql import statements

_BLOCK = 8192

_MAX_TURNS = 6

_LONG = 5.0
"""After a call of this many seconds, one more turn is enough: what else the server does changes its figures little."""

_USAGE = re.compile(
    r"(?P<user>[\d.]+) s user, (?P<system>[\d.]+) s system"
    r"(?:.*?(?P<sleeps>\d+)/\d+ \[[\d/]+\] voluntary)?",
    re.DOTALL,
)


@dataclass(slots=True)
class _Usage:
    """The server's latest report of CPU time and sleeps."""

    text: str = ""

    def receive(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.message_primary == "QUERY STATISTICS":
            self.text = diagnostic.message_detail or ""

    def figures(self) -> dict[str, Any]:
        found = _USAGE.search(self.text)
        if not found:
            return {}
        return {
            "cpu_ms": 1000 * (float(found["user"]) + float(found["system"])),
            "sleeps": int(found["sleeps"]) if found["sleeps"] else None,
        }


class Turns:
    """Measures prepared statements on a connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Use a connection in autocommit mode, with a scratch schema that has dal_run()."""
        self.connection = connection
        self._usage = _Usage()
        connection.add_notice_handler(self._usage.receive)
        self._reports = _row(connection, "may_report_usage")[0]
        self.tidy: Callable[[], object] = lambda: None

    def after_vacuum(self) -> Turns:
        """Return a copy that vacuums before each turn, so that no row versions of earlier turns are left.

        It is slower. Usually the server prunes a full page by itself, but it cannot while another connection holds a
        snapshot.
        """
        turns = copy(self)
        turns.tidy = partial(vacuum, self.connection)
        return turns

    def costs(self, statement: Prepared, mode: str, values: Callable[[], Mapping[str, Any]], times: int) -> list[Cost]:
        """Run a call `times` times in a transaction that is rolled back. Repeat this until no figure gets lower.

        Return the lowest cost of the first run, of the second, and so on; fewer if the statement cannot be repeated.
        """
        began = perf_counter()
        lowest = self._turn(statement, mode, values(), times)
        more = 1 if perf_counter() - began > _LONG else _MAX_TURNS - 1
        for _ in range(more):
            turn = self._turn(statement, mode, values(), times)
            lower = [least(costs) for costs in zip(lowest, turn, strict=False)]
            if all(map(_is_settled, lowest, lower)):
                return lower
            lowest = lower
        return lowest

    def returned(self, statement: Prepared, mode: str, values: Callable[[], Mapping[str, Any]]) -> int:
        """Run a call in a transaction that is rolled back; return the number of rows that it returned or changed."""
        with self.connection.transaction(force_rollback=True):
            return statement.run(mode, values())

    def _turn(self, statement: Prepared, mode: str, values: Mapping[str, Any], times: int) -> list[Cost]:
        costs: list[Cost] = []
        self.tidy()
        with self.connection.transaction(force_rollback=True):
            _row(self.connection, "serial")
            _row(self.connection, "set_far_time_zone")
            if self._reports:
                _row(self.connection, "report_usage")
            before = transaction_counters(self.connection)
            for _ in range(times):
                try:
                    figures = self._figures(statement.analyze(mode, values))
                except psycopg.IntegrityError:
                    if not costs:
                        raise
                    break
                after = transaction_counters(self.connection)
                costs.append(replace(Counters(after) - Counters(before), **figures))
                before = after
        return costs

    def _figures(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "wal_records": plan["WAL Records"],
            "wal_bytes": plan["WAL Bytes"],
            "temporary_bytes": plan["Temp Written Blocks"] * _BLOCK,
            **self._usage.figures(),
        }


def _row(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    cursor = connection.cursor(row_factory=tuple_row)
    row = cursor.execute(getattr(statements, query).sql, prepare=False).fetchone()
    return row or ()


def _is_settled(before: Cost, after: Cost) -> bool:
    """Return whether a turn lowered at most the CPU time, so that no more turns are needed."""
    return replace(before, cpu_ms=None) == replace(after, cpu_ms=None) and not after.sleeps
