"""The queries that are measured: anyone's aiosql files."""

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
    """What a module of fixtures defines, so that queries can be measured on data of any size."""

    def grow(self, connection: psycopg.Connection[Any], axis: str, before: int, size: int) -> None:
        """Let the tables, which hold `before` of what the axis names (at first 0, in empty tables), hold `size`.

        A query that promises no growth is run on "the standard data", which are grown once, to 64. Raise an error for
        an axis that is not known: a name with a typo would else be measured on data that do not grow.

        The connection is in a transaction, but under a held snapshot in autocommit: what a service does in several
        transactions is to be done so there. Where both are the same, the data are to be brought up to date, if there is
        anything in them that gets old.
        """

    def parameters(self, query: str, axis: str, size: int, turn: int) -> Mapping[str, Any]:
        """The parameters of a query's call on data of that size; no two turns are alike."""

    def largest(self, axis: str) -> int:
        """How far an axis can grow with `--large`; may be left out where nobody asks for that."""

    # SMALL_TABLES = ("warehouses",) may name tables that are small by nature. To read one as a whole breaks no promise,
    # unless that names the table. It is an error if one is not small in the data of these fixtures.


@dataclass(frozen=True, slots=True)
class Subject:
    """A query, as it is sent, and what it promises."""

    name: str
    text: str
    """With psycopg's placeholders."""
    promises: Promises

    def __str__(self) -> str:
        return f"query {self.name} of {self.path}"

    @property
    def path(self) -> Path:
        """The file that it stands in."""
        return self.promises.path

    def run(self, connection: psycopg.Connection[Any], parameters: Mapping[str, Any]) -> None:
        """Send the statement, and fetch what it gives."""
        cursor = psycopg.Cursor(connection)
        cursor.execute(self.text.encode(), bound(parameters))
        if cursor.description:
            cursor.fetchall()


def load(folder: Path) -> list[Subject]:
    """Load every query of a folder, or a file, with its promises; PromiseError with the problems of all of them."""
    loaded = _aiosql(folder)
    subjects: list[Subject] = []
    problems: list[Problem] = []
    for name in loaded.available_queries:
        if name.endswith("_cursor") and name.removesuffix("_cursor") in loaded.available_queries:
            continue  # aiosql's own second form of a query that gives rows
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
    """Load a folder with aiosql; an error names the file."""
    try:
        return aiosql.from_path(folder, "psycopg", mandatory_parameters=False, attribute=None)
    except (SQLLoadException, SQLParseException) as error:
        files = sorted(folder.rglob("*.sql")) if folder.is_dir() else []
        for file in files:
            _aiosql(file)
        raise QueryFileError(f"{folder}: {error}") from error
