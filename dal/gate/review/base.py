"""Read another revision of the query files from git."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dal.gate.errors import InvalidInput
from dal.gate.git import git
from dal.gate.header.parse import PromiseError, parse
from dal.gate.header.reader import read
from dal.gate.measure.reports import descriptions


def compare(revision: str, queries: Path, measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the queries of that revision: those to compare with, and those that were removed."""
    repository = _Git(queries)
    commit = repository.commit(revision)
    with tempfile.TemporaryDirectory() as folder:
        then = _queries(repository.copy(commit, Path(folder)))
    now = _names(queries) | {query["name"] for query in measured}
    return {
        "revision": revision,
        "commit": commit[:12],
        "queries": {query["name"]: then[query["name"]] for query in measured if query["name"] in then},
        "removed": {name: query for name, query in then.items() if name not in now},
    }


class _Git:
    """The repository of a query file or a folder of them."""

    def __init__(self, queries: Path) -> None:
        self._near = queries if queries.is_dir() else queries.parent
        self._path = queries.resolve().relative_to(Path(self._ask("rev-parse", "--show-toplevel").strip()).resolve())

    def commit(self, revision: str) -> str:
        """Return the commit of a revision."""
        found = self._ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", refused="")
        if not found:
            raise InvalidInput("--base", f"git has no revision {revision!r}")
        return found.strip()

    def copy(self, commit: str, folder: Path) -> Path:
        """Copy the query files of a commit into a folder; return their path there."""
        listed = self._ask("ls-tree", "-r", "-z", "--full-tree", "--name-only", commit, "--", str(self._path))
        for name in listed.split("\0"):
            if name.endswith(".sql"):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(self._ask("show", f"{commit}:{name}"), encoding="utf-8")
        return folder / self._path

    def _ask(self, *arguments: str, refused: str | None = None) -> str:
        """Run git and return its output, or `refused` if it fails."""
        done = git(self._near, *arguments)
        if done is None:
            raise InvalidInput("--base", "git is not installed")
        if done.returncode and refused is not None:
            return refused
        if done.returncode:
            raise InvalidInput("--base", done.stderr.strip().removeprefix("fatal: "))
        return done.stdout


def _queries(path: Path) -> dict[str, Any]:
    """Return the text and the promises of every query in a folder or file."""
    found = {}
    for file in _files(path):
        for name, header in read(file.read_text(encoding="utf-8")).items():
            found[_name(path, file, name)] = {
                "line": header.number,
                "source": header.source,
                "promises": _promises(file, name),
            }
    return found


def _promises(file: Path, name: str) -> list[str]:
    """Return the promises of a query; none if its header is older than the present grammar."""
    try:
        return descriptions(parse(file, name))
    except PromiseError:
        return []


def _names(path: Path) -> set[str]:
    return {_name(path, file, name) for file in _files(path) for name in read(file.read_text(encoding="utf-8"))}


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.sql")) if path.is_dir() else [path] if path.is_file() else []


def _name(path: Path, file: Path, query: str) -> str:
    """Return a query's full name, which includes its folders as in aiosql."""
    folders = file.relative_to(path).parent.parts if file != path else ()
    return ".".join((*folders, query))
