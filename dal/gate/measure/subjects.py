"""Load the queries to measure from aiosql files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

import aiosql
import psycopg
from aiosql.utils import SQLLoadException, SQLParseException

from dal.gate.errors import QueryFileError
from dal.gate.header.parse import Problem, PromiseError, parse
from dal.gate.header.promises import Promises
from dal.gate.measure.prepared import bound


class Fixtures(Protocol):
    """The functions of a module of fixtures, which makes data of any size."""

    def grow(self, connection: psycopg.Connection[Any], axis: str, before: int, size: int) -> None:
        """Grow the data along an axis from `before` to `size` items. At first `before` is 0, and all tables are empty.

        A query that promises no growth uses the axis "the standard data", of size 64. Raise an error for an unknown
        axis; otherwise a misspelled axis would be measured on data that never grow.

        The connection is in a transaction. Under a held snapshot it is in autocommit mode, so that the fixtures can use
        as many transactions as the service does. If `before` equals `size`, refresh data that age.
        """

    def parameters(self, query: str, axis: str, size: int, turn: int) -> Mapping[str, Any]:
        """Return the parameters of a call on data of this size. `turn` is another number in each call."""

    def largest(self, axis: str) -> int:
        """Return the largest size of an axis for `--large`. Optional."""

    def usual(self, axis: str) -> int:
        """Return the largest size of an axis without `--large`, if it is below 16,384. Optional."""

    # Optional: SMALL_TABLES = ("warehouses",) names tables that always stay small. A full scan of one breaks no
    # promise, unless the promise names the table. The gate raises InvalidInput if one of them is not small.


@dataclass(frozen=True, slots=True)
class Subject:
    """A query as it is sent, with its promises."""

    name: str
    text: str
    """With psycopg's placeholders."""
    promises: Promises

    def __str__(self) -> str:
        return f"query {self.name} of {self.path}"

    @property
    def path(self) -> Path:
        """The query's file."""
        return self.promises.path

    def run(self, connection: psycopg.Connection[Any], parameters: Mapping[str, Any]) -> None:
        """Send the statement and fetch its rows."""
        cursor = psycopg.Cursor(connection)
        cursor.execute(self.text.encode(), bound(parameters))
        if cursor.description:
            cursor.fetchall()


def load(folder: Path) -> list[Subject]:
    """Load every query of a folder or file; raise PromiseError with the problems of all headers."""
    loaded = _aiosql(folder)
    subjects: list[Subject] = []
    problems: list[Problem] = []
    for name in loaded.available_queries:
        if name.endswith("_cursor") and name.removesuffix("_cursor") in loaded.available_queries:
            continue  # aiosql's second function for a query that returns rows.
        query = reduce(getattr, name.split("."), loaded)
        try:
            promises = parse(Path(query.__code__.co_filename), name.rpartition(".")[2])
            subjects.append(Subject(name, query.sql, promises))
        except PromiseError as error:
            problems += error.problems
    if problems:
        raise PromiseError(problems)
    return subjects


def _aiosql(folder: Path) -> Any:
    """Load a folder with aiosql. An error names the file."""
    try:
        return aiosql.from_path(folder, "psycopg", mandatory_parameters=False, attribute=None)
    except (SQLLoadException, SQLParseException) as error:
        files = sorted(folder.rglob("*.sql")) if folder.is_dir() else []
        for file in files:
            _aiosql(file)
        raise QueryFileError(f"{folder}: {error}") from error
