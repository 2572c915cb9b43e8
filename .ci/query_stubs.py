"""Generate dal/_async/queries.pyi from the query files, so that editors know them; --check tells whether it is current.

uv run .ci/query_stubs.py [--check]

Run .ci/async_to_sync.py after it, for the synchronous twin.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from textwrap import indent
from typing import Any

from dal import async_queries
from dal.loader import Statement
from dal.records import Message, SessionRecord

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "dal/_async/queries.pyi"

TYPES = {"bigint": "int", "boolean": "bool", "jsonb": "str | Jsonb", "text": "str", "timestamptz": "datetime | str"}
"""What psycopg sends as the type that a parameter is cast to. An array is a list: a tuple would be sent as a row."""

DEFAULTS = {"owner": "None"}
"""Parameters that may be left out."""

NULLABLE = {field.name for kind in (Message, SessionRecord) for field in fields(kind) if "None" in str(field.type)}
"""Columns that may be NULL, and so what an INSERT takes for them."""

HEAD = '''\
# Generated from the query files by .ci/query_stubs.py: change those, and run it.
"""Every query file as a function: its parameters, its rows, and what they mean."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.types.json import Jsonb

from dal import records
from dal.loader import Statement

class AsyncQuery(Statement):
    """A query file that runs when it is called: `await async_queries.sessions.get(connection, session_id="…")`."""

    async def __call__(self, *args: Any, **parameters: Any) -> Any: ...
    async def send(
        self, connection: AsyncConnection[Any], parameters: dict[str, Any], spare: AsyncSpare | None = None
    ) -> Any: ...
    def cursor(self, connection: AsyncConnection[Any]) -> AsyncRawCursor[Any]: ...

class AsyncSpare: ...

'''

TAIL = '''
    def __getitem__(self, name: str) -> AsyncQuery: ...
    def __iter__(self) -> Iterator[str]: ...

async_queries: _Library
"""Every query file as a function that awaits, in a namespace for each folder."""
'''


def generate() -> str:
    """Return the stub of the queries' module, formatted."""
    folders: dict[str, list[Statement]] = {}
    for name in sorted(async_queries):
        folders.setdefault(name.partition(".")[0], []).append(async_queries[name])
    text = HEAD
    for folder, queries in folders.items():
        text += "".join(map(_query, queries))
        text += f"class _{folder.title()}:\n" + "".join(f"    {one.path.stem}: {_class(one)}\n" for one in queries)
    text += "class _Library:\n" + "".join(f"    {folder}: _{folder.title()}\n" for folder in folders) + TAIL
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(TARGET), "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _class(query: Statement) -> str:
    return "_" + query.name.replace(".", "_").title().replace("_", "")


def _query(query: Statement) -> str:
    """The class of a query, whose call has its parameters and its documentation."""
    text = query.path.read_text(encoding="utf-8")
    declared = re.match(r"-- name: \w+\((.*)\)", text)
    names = [name.strip() for name in declared[1].split(",")] if declared and declared[1] else []
    casts = dict(re.findall(r"(?<!:):(\w+)::(\w+(?:\[\])?)", text))
    nullable = set(re.findall(r"(?<!:):(\w+)::\w+ IS (?:NOT )?NULL", text))
    if "INSERT INTO" in text:
        nullable |= NULLABLE
    parameters = "".join(f", {_parameter(name, casts[name], nullable)}" for name in names)
    record: Any = query.record
    returned = f"list[records.{record.__name__}]" if query.many else f"records.{record.__name__} | None"
    return (
        f"class {_class(query)}(AsyncQuery):\n"
        f"    async def __call__(self, connection: AsyncConnection[Any], /{', *' if names else ''}{parameters}) "
        f"-> {returned}:\n"
        f"{indent(_doc(query.doc), '        ')}\n\n"
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


def _doc(header: str) -> str:
    """What a caller asks of a query file's header: what it does, and what it returns. The rest is for the DBA."""
    purpose = header.partition("\n\n")[0]
    returns = header[header.index("Returns: ") :]
    return f'"""{purpose}\n\n{returns}\n"""'


def main() -> int:
    """Write the stub, or compare it."""
    wanted = generate()
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"not current: {TARGET.relative_to(ROOT)}; run `uv run .ci/query_stubs.py`", file=sys.stderr)
        return 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
