"""Compare the query files with another revision in git."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dal.gate.errors import InvalidInput
from dal.gate.git import git
from dal.gate.header.parse import PromiseError, parse
from dal.gate.header.reader import read
from dal.gate.measure.reports import descriptions


@dataclass(frozen=True, slots=True)
class Revision:
    """A copy of a repository as it was at a revision."""

    name: str
    commit: str
    top: Path
    """The repository's folder."""
    copy: Path
    """The folder of the copy."""

    def path(self, path: Path) -> Path:
        """Return the path of a file or folder in the copy, where it may not exist."""
        try:
            return self.copy / path.resolve().relative_to(self.top)
        except ValueError:
            raise InvalidInput(str(path), f"is outside of the repository {self.top}") from None

    def existing(self, path: Path) -> Path:
        """Return the path of a file or folder in the copy; raise InvalidInput if it does not exist there."""
        copied = self.path(path)
        if not copied.exists():
            raise InvalidInput(str(copied.relative_to(self.copy)), f"does not exist at {self.name}")
        return copied

    def without_folder(self, text: object) -> str:
        """Return a text in which paths of the copy are relative to the repository."""
        return str(text).replace(f"{self.copy}/", "")


@contextmanager
def checkout(revision: str, queries: Path) -> Iterator[Revision]:
    """Copy a revision of the queries' repository into a temporary folder for the length of the block.

    The copy is complete, since fixtures may need other files. Neither the work tree nor the index changes.
    """
    near = queries if queries.is_dir() else queries.parent
    top = Path(_git(near, "rev-parse", "--show-toplevel").strip()).resolve()
    commit = _commit(top, revision)
    with tempfile.TemporaryDirectory(prefix="session-dal-") as folder:
        copy, index = Path(folder, "copy"), str(Path(folder, "index"))
        copy.mkdir()
        _git(top, "read-tree", commit, GIT_INDEX_FILE=index)
        _git(top, "checkout-index", "--all", f"--prefix={copy}/", GIT_INDEX_FILE=index)
        yield Revision(revision, commit[:12], top, copy)


def compare(revision: Revision, queries: Path, measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the queries of the revision: those that still exist, and those that were removed since."""
    then = _queries(revision.path(queries))
    now = _queries(queries).keys() | {query["name"] for query in measured}
    return {
        "revision": revision.name,
        "commit": revision.commit,
        "queries": {query["name"]: then[query["name"]] for query in measured if query["name"] in then},
        "removed": {name: query for name, query in then.items() if name not in now},
    }


def _commit(top: Path, revision: str) -> str:
    """Return the commit of a revision."""
    found = git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found is None or found.returncode:
        raise InvalidInput("--base", f"git has no revision {revision!r}")
    return found.stdout.strip()


def _git(folder: Path, *arguments: str, **environment: str) -> str:
    """Run git and return its output; raise InvalidInput if it fails."""
    done = git(folder, *arguments, **environment)
    if done is None:
        raise InvalidInput("--base", "git is not installed")
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
    """Return the promises of a query; none if the present grammar does not accept its header."""
    try:
        return descriptions(parse(file, name))
    except PromiseError:
        return []


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.sql")) if path.is_dir() else [path] if path.is_file() else []


def _name(path: Path, file: Path, query: str) -> str:
    """Return a query's full name, which includes its folders as in aiosql."""
    folders = file.relative_to(path).parent.parts if file != path else ()
    return ".".join((*folders, query))
