"""Prepared statements, run with the custom or the generic plan.

psycopg forgets its own prepared statements when a transaction is rolled back. One from SQL's PREPARE survives, so it
can be run and rolled back many times, as on a warm connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8

MODES = ("custom", "generic")
"""The plans of a prepared statement: made for the values of each call, or once for all values."""

_PREPARE = sql.SQL("PREPARE {} AS {}")
_MODE = sql.SQL("SET LOCAL plan_cache_mode = {}")
_EXECUTE = sql.SQL("EXECUTE {} {}")
_ANALYZE = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, WAL, TIMING OFF, SUMMARY OFF, FORMAT JSON) SELECT dal_run({})")
_EXPLAIN = sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE {} {}")
_EXPLAIN_ANALYZE = sql.SQL("EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF, SUMMARY OFF, FORMAT JSON) EXECUTE {} {}")
_DEALLOCATE = sql.SQL("DEALLOCATE {}")

_number = count()


class Prepared:
    """Runs or explains a prepared statement in the caller's transaction."""

    def __init__(self, connection: psycopg.Connection[Any], name: sql.Identifier, parameters: list[str]) -> None:
        self._cursor = psycopg.ClientCursor(connection, row_factory=tuple_row)
        self._name = name
        self._parameters = parameters

    def run(self, mode: str, values: Mapping[str, Any]) -> int:
        """Run the statement with this plan, and return the number of rows that it returned or changed."""
        self._choose(mode)
        self._cursor.execute(self._call(_EXECUTE, values))
        return max(self._cursor.rowcount, 0)

    def explain(self, mode: str, values: Mapping[str, Any]) -> Any:
        """Return a plan in EXPLAIN's format, without running the statement."""
        self._choose(mode)
        return self._explained(self._call(_EXPLAIN, values))

    def explain_analyze(self, mode: str, values: Mapping[str, Any]) -> Any:
        """Run the statement, and return a plan with its actual rows."""
        self._choose(mode)
        return self._explained(self._call(_EXPLAIN_ANALYZE, values))

    def analyze(self, mode: str, values: Mapping[str, Any]) -> Any:
        """Run the statement with this plan inside dal_run() (see scratch), and return the result of EXPLAIN ANALYZE.

        EXPLAIN of the statement alone does not count its triggers.
        """
        self._choose(mode)
        text = self._call(_EXECUTE, values).as_string(self._cursor)
        return self._explained(_ANALYZE.format(sql.Literal(text)))

    def _choose(self, mode: str) -> None:
        self._cursor.execute(_MODE.format(sql.Literal(f"force_{mode}_plan")))

    def _call(self, form: sql.SQL, values: Mapping[str, Any]) -> sql.Composed:
        given = bound(values)
        literals = sql.SQL(", ").join(sql.Literal(given[name]) for name in self._parameters)
        arguments = sql.SQL("({})").format(literals) if self._parameters else sql.SQL("")
        return form.format(self._name, arguments)

    def _explained(self, statement: sql.Composed) -> Any:
        self._cursor.execute(statement)
        ((document,),) = self._cursor.fetchall()
        return document[0]["Plan"]


@contextmanager
def prepared(connection: psycopg.Connection[Any], text: str) -> Iterator[Prepared]:
    """Prepare a statement with psycopg's named placeholders for the length of the block.

    If a transaction in the block is rolled back, the connection's prepare_threshold must be None: psycopg would
    otherwise deallocate this statement with its own.
    """
    name = sql.Identifier(f"dal_{next(_number)}")
    statement, parameters = numbered(text)
    with connection.cursor() as cursor:
        cursor.execute(_PREPARE.format(name, statement), prepare=False)
        yield Prepared(connection, name, parameters)
        cursor.execute(_DEALLOCATE.format(name), prepare=False)


def bound(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as they are sent. Every integer is a bigint, so that the types are the same in all calls."""
    return {name: Int8(value) if type(value) is int else value for name, value in values.items()}


def numbered(text: str) -> tuple[sql.SQL, list[str]]:
    """Return the statement with $1 and so on for PREPARE, and the parameters' names in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return sql.SQL(re.sub(r"%%|%\((\w+)\)s", number, text.rstrip().removesuffix(";"))), names
