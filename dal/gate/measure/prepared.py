"""A statement that the server holds prepared, run with the plan for its values or with the generic one.

psycopg forgets what it has prepared when a transaction is rolled back. What SQL's own PREPARE has prepared stays,
so that a statement can be run and undone again and again as on a connection that has long been warm.
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
"""The plans that a prepared statement can get: made for the values, anew each time, or once for all values."""

_PREPARE = sql.SQL("PREPARE {} AS {}")
_MODE = sql.SQL("SET LOCAL plan_cache_mode = {}")
_EXECUTE = sql.SQL("EXECUTE {} {}")
_ANALYZE = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, WAL, TIMING OFF, SUMMARY OFF, FORMAT JSON) SELECT dal_run({})")
_EXPLAIN = sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE {} {}")
_DEALLOCATE = sql.SQL("DEALLOCATE {}")

_number = count()


class Prepared:
    """Runs a prepared statement, or explains it, in a transaction of whoever calls."""

    def __init__(self, connection: psycopg.Connection[Any], name: sql.Identifier, parameters: list[str]) -> None:
        self._cursor = psycopg.ClientCursor(connection, row_factory=tuple_row)
        self._name = name
        self._parameters = parameters

    def run(self, mode: str, values: Mapping[str, Any]) -> int:
        """Run it with the plan of a mode, and return how many rows it returned or changed."""
        self._choose(mode)
        self._cursor.execute(self._call(_EXECUTE, values))
        return max(self._cursor.rowcount, 0)

    def explain(self, mode: str, values: Mapping[str, Any]) -> Any:
        """The plan of a mode, as EXPLAIN gives it; nothing is run."""
        self._choose(mode)
        return self._explained(self._call(_EXPLAIN, values))

    def analyze(self, mode: str, values: Mapping[str, Any]) -> Any:
        """Run it with the plan of a mode inside dal_run() (see scratch), and return what EXPLAIN says of that.

        EXPLAIN of the statement itself leaves out what its triggers do.
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
    """Prepare a statement, with psycopg's named placeholders, for the length of the block.

    If what is done there is rolled back, the connection's prepare_threshold must be None: psycopg would else drop
    with its own statements this one too.
    """
    name = sql.Identifier(f"dal_{next(_number)}")
    statement, parameters = numbered(text)
    with connection.cursor() as cursor:
        cursor.execute(_PREPARE.format(name, statement), prepare=False)
        yield Prepared(connection, name, parameters)
        cursor.execute(_DEALLOCATE.format(name), prepare=False)


def bound(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are sent: every integer as a bigint, whatever its size, so that a statement stays one."""
    return {name: Int8(value) if type(value) is int else value for name, value in values.items()}


def numbered(text: str) -> tuple[sql.SQL, list[str]]:
    """The statement with $1 and so on, as PREPARE wants them, and the parameters' names in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return sql.SQL(re.sub(r"%%|%\((\w+)\)s", number, text.rstrip().removesuffix(";"))), names
