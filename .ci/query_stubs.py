"""Generate dal/_async/queries.pyi and dal/sql/query_headers.py from the query files; --check compares them.

uv run .ci/query_stubs.py [--check]

The first gives editors the parameters and rows of each query; the second gives the loader the record class of its rows,
and whether a retry is safe. Run .ci/async_to_sync.py afterwards for the sync side.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from textwrap import indent

from dal import records, rows
from dal.gate.header.grammar import promise_of
from dal.gate.header.reader import Header, read
from dal.records import Message, SessionRecord
from dal.sql import QUERIES

ROOT = Path(__file__).parent.parent
STUBS = ROOT / "dal/_async/queries.pyi"
HEADERS = ROOT / "dal/sql/query_headers.py"

TYPES = {"bigint": "int", "boolean": "bool", "jsonb": "str | Jsonb", "text": "str", "timestamptz": "datetime | str"}
"""Python types by the type that a parameter is cast to. Arrays are lists, since psycopg sends a tuple as a row."""

DEFAULTS = {"owner": "None"}
"""Optional parameters."""

NULLABLE = {field.name for kind in (Message, SessionRecord) for field in fields(kind) if "None" in str(field.type)}
"""Columns that may be NULL, also in an INSERT."""

HEAD = '''\
# Generated from the query files by .ci/query_stubs.py: change those, and run it.
"""Every query file as a function: its parameters, its rows, and what they mean."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.types.json import Jsonb

from dal import records, rows
from dal.sql.loader import Parameters, Statement

class AsyncQuery(Statement):
    """A query file that runs when it is called: `await async_queries.sessions.get(connection, session_id="…")`."""

    @property
    def distributed(self) -> AsyncQuery: ...
    async def __call__(self, *args: Any, **parameters: Any) -> Any: ...
    async def send(
        self, connection: AsyncConnection[Any], parameters: Parameters, spare: AsyncSpare | None = None
    ) -> Any: ...
    def cursor(self, connection: AsyncConnection[Any]) -> AsyncRawCursor[Any]: ...
    async def fetch(self, cursor: AsyncRawCursor[Any]) -> Any: ...

class AsyncSpare: ...

'''

TAIL = '''
    def __getitem__(self, name: str) -> AsyncQuery: ...
    def __iter__(self) -> Iterator[str]: ...

async_queries: _Library
"""Every query file as an asynchronous function, in a namespace for each folder."""
'''


QUERY_HEADERS = '''\
# Generated from the query files by .ci/query_stubs.py: change those, and run it.
"""The record and the repeatability of each query, from the header of its file."""

from typing import Any, NamedTuple

from dal import records, rows


class QueryHeader(NamedTuple):
    """The lines `Returns:` and `Repeat:` of a header."""

    record: type[Any]
    repeatable: bool
    """True if a retry is safe even after an unknown outcome."""


HEADERS = {
'''


@dataclass(frozen=True, slots=True)
class Query:
    """A query file."""

    path: Path
    header: Header

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """Its full name, such as messages.append."""
        return f"{self.folder}.{self.path.stem}"

    @property
    def record(self) -> str:
        """The class of its rows, such as records.Message or rows.Appended."""
        name = str(self._line("Returns"))
        for module in (records, rows):
            if hasattr(module, name):
                return f"{module.__name__.removeprefix('dal.')}.{name}"
        raise SystemExit(f"{self.path}: `Returns: {name}` names no class of dal.records or dal.rows")

    @property
    def repeatable(self) -> bool:
        """Return True if a retry is safe."""
        return bool(self._line("Repeat"))

    def _line(self, word: str) -> object:
        try:
            return promise_of(word, 0, self.header.text_of(word) or "")
        except ValueError as error:
            raise SystemExit(f"{self.path}: `{word}:` {error}") from error


def load() -> list[Query]:
    """Read the header of every query file."""
    paths = sorted(QUERIES.rglob("*.sql"))
    return [Query(path, read(path.read_text(encoding="utf-8"))[path.stem]) for path in paths]


def generate(queries: list[Query]) -> dict[Path, str]:
    """Return the text of each generated file, by its path."""
    return {
        STUBS: _formatted(STUBS, HEAD + _stubs(queries) + TAIL),
        HEADERS: _formatted(HEADERS, QUERY_HEADERS + "".join(map(_header, queries)) + "}\n"),
    }


def _stubs(queries: list[Query]) -> str:
    text, folders = "", []
    for folder, found in groupby(queries, key=lambda query: query.folder):
        group = list(found)
        folders.append(folder)
        text += "".join(map(_query, group))
        text += f"class _{folder.title()}:\n" + "".join(f"    {one.path.stem}: {_class(one)}\n" for one in group)
    return text + "class _Library:\n" + "".join(f"    {folder}: _{folder.title()}\n" for folder in folders)


def _header(query: Query) -> str:
    return f'    "{query.name}": QueryHeader({query.record}, repeatable={query.repeatable}),\n'


def _formatted(path: Path, text: str) -> str:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(path), "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _class(query: Query) -> str:
    return "_" + query.name.replace(".", "_").title().replace("_", "")


def _query(query: Query) -> str:
    """Return the class of a query, whose call has its parameters and its documentation."""
    text = query.header.source
    casts = dict(re.findall(r"(?<!:):(\w+)::(\w+(?:\[\])?)", text))
    nullable = set(re.findall(r"(?<!:):(\w+)::\w+ IS (?:NOT )?NULL", text))
    if "INSERT INTO" in text:
        nullable |= NULLABLE
    names = query.header.parameters
    parameters = "".join(f", {_parameter(name, casts[name], nullable)}" for name in names)
    one_row = query.header.operator == "^"
    returned = f"{query.record} | None" if one_row else f"list[{query.record}]"
    return (
        f"class {_class(query)}(AsyncQuery):\n"
        f"    async def __call__(self, connection: AsyncConnection[Any], /{', *' if names else ''}{parameters}) "
        f"-> {returned}:\n"
        f"{indent(_doc(query.header), '        ')}\n\n"
    )


def _parameter(name: str, cast: str, nullable: set[str]) -> str:
    base = TYPES[cast.removesuffix("[]")]
    kinds = base.split(" | ")
    if cast.endswith("[]"):
        kinds = [f"list[{kind}]" for kind in kinds]
        if name.removesuffix("s") in nullable:
            kinds.append(f"list[{base} | None]")
    elif name in nullable or DEFAULTS.get(name) == "None":
        kinds.append("None")
    default = f" = {DEFAULTS[name]}" if name in DEFAULTS else ""
    return f"{name}: {' | '.join(kinds)}{default}"


def _doc(header: Header) -> str:
    """Return the purpose and the result of a query, which callers need. The rest of a header is for DBAs."""
    returns = (header.text_of("Returns") or "").replace("\n", "\n  ")
    return f'"""{header.purpose}\n\nReturns: {returns}\n"""'


def main() -> int:
    """Write the files, or compare them."""
    outdated = {path: text for path, text in generate(load()).items() if not _is_current(path, text)}
    if not outdated:
        return 0
    if "--check" in sys.argv[1:]:
        names = ", ".join(str(path.relative_to(ROOT)) for path in outdated)
        print(f"not current: {names}; run `uv run .ci/query_stubs.py`", file=sys.stderr)
        return 1
    for path, text in outdated.items():
        path.write_text(text, encoding="utf-8")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
