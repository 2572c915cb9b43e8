"""The gate's table in a project's pyproject.toml.

    [tool.session-dal.gate]
    queries = "sql/"
    schema = "schema.sql"
    fixtures = "tests/gate_fixtures.py"

    [tool.session-dal.gate.distributed]
    queries = "sql/distributed/"
    schema = ["sql/distribute.sql", "sql/functions/"]
    fixtures = "sql/gate_distributed.py"

Paths are relative to that file. Options of the command line override them. The second table is for a Citus cluster:
query files that replace those of the same name, files to run after the schema, and fixtures.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dal.gate.errors import InvalidInput

_TABLE = "[tool.session-dal.gate]"


@dataclass(frozen=True, slots=True)
class Files:
    """The query files, schema and fixtures to measure. pyproject.toml names those that are None."""

    queries: Path | None = None
    schema: Path | None = None
    fixtures: Path | None = None

    def path(self, name: str) -> Path:
        """Return the path of one of them; raise InvalidInput if neither an option nor pyproject.toml names it."""
        found: Path | None = getattr(self, name) or _settings(Path.cwd()).get(name)
        if found is None:
            raise InvalidInput(f"--{name}", f"is missing; give it, or set `{name}` in {_TABLE} of pyproject.toml")
        return found


@dataclass(frozen=True, slots=True)
class Distributed:
    """The other files for a cluster."""

    queries: Path | None = None
    """Query files that replace those of the same name."""
    schema: Sequence[Path] = ()
    """The files to run after the schema, in one transaction."""
    fixtures: Path | None = None
    """Fixtures instead of the others."""


def distributed() -> Distributed:
    """Return the files for a cluster; raise InvalidInput if pyproject.toml has no table of them."""
    path, table = _nearest(Path.cwd())
    found = table.get(_DISTRIBUTED)
    if path is None or not isinstance(found, dict):
        raise InvalidInput("--distributed", f"needs a table {_TABLE[:-1]}.{_DISTRIBUTED}] in pyproject.toml")
    given = {name: value if isinstance(value, list) else [value] for name, value in found.items()}
    paths = {name: [_path(path, name, value) for value in values] for name, values in given.items()}
    return Distributed(
        next(iter(paths.get("queries", ())), None),
        [file for one in paths.get("schema", ()) for file in (sorted(one.glob("*.sql")) if one.is_dir() else [one])],
        next(iter(paths.get("fixtures", ())), None),
    )


_DISTRIBUTED = "distributed"
_NAMES = tuple(field.name for field in fields(Files))


def _settings(folder: Path) -> dict[str, Path]:
    """Return the paths in the nearest pyproject.toml that has the table."""
    path, table = _nearest(folder)
    return {name: _path(path, name, value) for name, value in table.items() if path and name != _DISTRIBUTED}


def _nearest(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the nearest pyproject.toml that has the table, and the table."""
    for place in (folder, *folder.parents):
        path = place / "pyproject.toml"
        if path.is_file() and (table := _table(path)):
            return path, table
    return None, {}


def _table(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(str(path), f"cannot be read: {error}") from error
    table: dict[str, Any] = document.get("tool", {}).get("session-dal", {}).get("gate", {})
    return table


def _path(file: Path, name: str, value: object) -> Path:
    where = f"{file}: `{name}` in {_TABLE}"
    if name not in _NAMES or not isinstance(value, str):
        raise InvalidInput(where, f"expected a path for one of {', '.join(_NAMES)}")
    path = file.parent / value
    if not path.exists():
        raise InvalidInput(where, f"{value} does not exist")
    return path
