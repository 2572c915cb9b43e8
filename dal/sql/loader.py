"""Load the query files: aiosql parses them, and this module refuses errors that aiosql accepts.

A file holds one statement. Its header (see any file in queries/) is not read here: .ci/query_stubs.py writes what it
says of the result into dal/sql/query_headers.py, so that the gate has the only parser of headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any

import aiosql
import aiosql.queries
from aiosql.types import QueryFn, SQLOperationType
from aiosql.utils import VAR_REF
from psycopg.abc import Buffer
from psycopg.types.json import JsonbBinaryLoader
from psycopg.types.numeric import Int8

from dal.sql.query_headers import HEADERS

_OPERATORS = {SQLOperationType.SELECT: True, SQLOperationType.SELECT_ONE: False}
"""The accepted operators, and whether they return many rows. Others lose information: `$` does not distinguish NULL
from no row, and `<!` returns a value or a tuple."""


_BIGINT = re.compile(r"\$(\d+)::bigint\b(?!\[)")

_EMPTY = b"\x01{}"
"""An empty object as binary jsonb, after the version of the format."""


class QueryFileError(Exception):
    """A query file cannot be loaded."""


class MetadataLoader(JsonbBinaryLoader):
    """Parses jsonb with Python's json, whatever the connection uses. Empty objects are frequent, and fast."""

    def load(self, data: Buffer) -> Any:
        """Parse a value."""
        return {} if data == _EMPTY else json.loads(bytes(data[1:]))


Parameters = dict[str, Any] | list[Any]
"""The parameters of a statement by name, or the values that its `bind` has returned."""


class Statement:
    """One query file: its name, its SQL as it is sent, and the record that a row becomes."""

    __slots__ = (
        "_bigints",
        "_places",
        "_second_forms",
        "_values",
        "has_metadata",
        "is_small",
        "many",
        "name",
        "names",
        "parameters",
        "path",
        "record",
        "repeatable",
        "row_factory",
        "sql",
    )

    def __init__(self, source: Any, path: Path, numbered: Sequence[str]) -> None:
        self.name = f"{path.parent.name}.{path.stem}"
        self.path = path
        self.sql: bytes = source.sql.encode()
        self.many = _OPERATORS[source.operation]
        self.parameters = frozenset(numbered)
        self.names = tuple(numbered)
        """The parameters by number."""
        self._values = _getter(self.names)
        self._places: list[int] | None = None
        """For a second form: the numbers of its parameters in the first one, from 0."""
        self._bigints = sorted({int(number) - 1 for number in _BIGINT.findall(source.sql)})
        """The places of the parameters that are cast to bigint."""
        header = HEADERS.get(self.name)
        if header is None:
            raise QueryFileError(f"{path}: not in dal/sql/query_headers.py; run `uv run .ci/query_stubs.py`")
        self.record = header.record
        self.repeatable = header.repeatable
        self.has_metadata = "metadata" in {column.name for column in fields(self.record)}
        self.is_small = not self.many and not self.has_metadata
        """True if it returns at most one row, without metadata: its cursor can be used again."""
        self.row_factory = _row_factory(self.record)
        self._second_forms: SecondForms | None = None

    @property
    def distributed(self) -> Statement:
        """The statement for tables that are distributed over a cluster; itself, unless it has a second form."""
        return self if self._second_forms is None else self._second_forms.of(self)

    def __repr__(self) -> str:
        return f"<query {self.name}({', '.join(sorted(self.parameters))})>"

    def bind(self, given: Parameters) -> list[Any]:
        """Check the names of the parameters, and return the values to send, every int as an int8. `owner` is optional.

        psycopg sends an int as the smallest possible type, and would prepare the statement again for each type.
        Values that the first form of this statement has bound are only put into the order of this form.
        """
        if isinstance(given, list):
            return given if self._places is None else [given[place] for place in self._places]
        try:
            values = [*self._values(given)]
        except KeyError:
            values = self._completed(given)
        if len(values) != len(given):
            values = self._completed(given)
        for n in self._bigints:
            if type(values[n]) is int:
                values[n] = Int8(values[n])
        return values

    def named(self, given: Parameters) -> dict[str, Any]:
        """Return parameters by name, even if they are bound."""
        return dict(zip(self.names, given, strict=True)) if isinstance(given, list) else given

    def _completed(self, given: dict[str, Any]) -> list[Any]:
        """Return the values, with `owner` even if it is missing; raise an error if any other name is wrong."""
        if "owner" in self.parameters:
            given.setdefault("owner", None)
        differences = {"missing": self.parameters - given.keys(), "unknown": given.keys() - self.parameters}
        wrong = [f"{kind} {', '.join(sorted(names))}" for kind, names in differences.items() if names]
        if wrong:
            raise TypeError(f"query {self.name}: {'; '.join(wrong)}")
        return [*self._values(given)]


def _getter(names: Sequence[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Return a function that returns the values of these keys."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda given: tuple([given[name] for name in names])


def _row_factory(record: type[Any]) -> Callable[[Any], Callable[[Sequence[Any]], Any]]:
    """Return a row factory as psycopg's args_row, which makes a function of its own for each execution."""

    def make(values: Sequence[Any]) -> Any:
        return record(*values)

    return lambda _: make


class Folder(aiosql.queries.Queries):
    """The queries of one folder, each an attribute."""

    driver_adapter: Any  # An Adapter: aiosql's own protocol lists calls that are never made here.

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no query {name!r}; there are {', '.join(self.available_queries)}")

    def add_queries(self, queries: list[QueryFn]) -> None:
        """Add a query that aiosql has parsed, without aiosql's functions to run it."""
        self.add_query(queries[0].__name__, self.driver_adapter.make(queries[0]))


class Library:
    """Query files by folder and name: `queries.messages.append`, or `queries["messages.append"]`."""

    def __init__(self, folders: dict[str, Folder]) -> None:
        self._folders = folders
        vars(self).update(folders)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no folder of queries {name!r}; there are {', '.join(self._folders)}")

    def __getitem__(self, name: str) -> Any:
        folder, _, query = name.partition(".")
        try:
            return getattr(self._folders[folder], query)
        except (KeyError, AttributeError):
            raise KeyError(f"no query {name!r}; there are {', '.join(self)}") from None

    def __iter__(self) -> Iterator[str]:
        return (f"{name}.{query}" for name, folder in self._folders.items() for query in folder.available_queries)


class Adapter:
    """The driver adapter that aiosql calls while it parses a folder. It refuses errors that aiosql accepts."""

    is_aio_driver = False  # Not used, as aiosql's functions are not.

    def __init__(self, kind: type[Statement], folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._numbers: dict[str, dict[str, int]] = {}

    def process_sql(self, query_name: str, op_type: SQLOperationType, sql: str) -> str:
        """Number the parameters, and add a comment with the name of the query file."""
        path = self._folder / f"{query_name}.sql"
        if query_name in self._numbers or not path.is_file():
            raise QueryFileError(f"query {query_name} of {self._folder} must be defined once, in {path.name}")
        if op_type not in _OPERATORS:
            raise QueryFileError(f"{path}: its operator must be ^ (at most one row) or none (any number of rows)")
        numbers = self._numbers[query_name] = {}
        statement = VAR_REF.sub(partial(_number, numbers), sql.removesuffix(";"))
        return f"/* dal:{self._folder.name}.{query_name} */ {statement}"

    def make(self, source: Any) -> Statement:
        """Return the statement that aiosql has parsed."""
        numbered = list(self._numbers[source.__name__])
        return self._kind(source, self._folder / f"{source.__name__}.sql", numbered)


class SecondForms:
    """The second form of some queries, for tables that are distributed. They are loaded when one is wanted first."""

    def __init__(self, root: Path, kind: type[Statement]) -> None:
        self._root = root
        self._kind = kind
        self._lock = Lock()
        self._forms: dict[str, Statement] | None = None

    def of(self, statement: Statement) -> Statement:
        """Return the second form of a statement, or the statement itself if it has none."""
        if self._forms is None:
            with self._lock:
                if self._forms is None:
                    library = Library(_folders(self._root, self._kind))
                    self._forms = {name: library[name] for name in library}
        other = self._forms.get(statement.name, statement)
        if (statement.parameters, statement.many) != (other.parameters, other.many):
            raise QueryFileError(f"{other.path}: its parameters and operator must be those of {statement.path}")
        if other is not statement and other._places is None:  # noqa: SLF001 - a part of loading it
            other._places = [statement.names.index(name) for name in other.names]  # noqa: SLF001 - as above
        return other


def load(root: Path, kind: type[Statement], second_forms: Path | None = None) -> Library:
    """Load the query files in the folders of a folder: one query a file, named as the file.

    `second_forms` is a folder of the same structure, with the second form of some queries.
    """
    library = Library(_folders(root, kind))
    if second_forms is not None:
        shared = SecondForms(second_forms, kind)
        for name in library:
            library[name]._second_forms = shared  # noqa: SLF001 - a part of loading it
    return library


def _folders(root: Path, kind: type[Statement]) -> dict[str, Folder]:
    return {
        folder.name: aiosql.from_path(
            folder,
            partial(Adapter, kind, folder),  # type: ignore[arg-type] # as Folder.driver_adapter
            queries_cls=Folder,
            attribute=None,
            encoding="utf-8",
        )
        for folder in sorted(root.glob("*"))
        if folder.is_dir()
    }


def _number(numbers: dict[str, int], match: re.Match[str]) -> str:
    found: Mapping[str, str | None] = match.groupdict()
    name = found["var_name"]
    return f"{found['lead']}${numbers.setdefault(name, len(numbers) + 1)}" if name else match[0]
