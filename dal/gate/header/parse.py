"""Read the promises in the header of a query, strictly: a word that is not understood is an error.

    -- Promises: 1 round trip; HOT; buffers O(log n) in the session's messages, at most 30 buffers;
    --   at most 6 WAL records
    -- Held snapshot: buffers O(n) in the appends since, at most n/50
    -- Locks: RowExclusive on sessions, messages; 1 row of sessions
    -- Never: Seq Scan; Sort on messages

A line continues in lines that are indented by three spaces. `Held snapshot:` may be left out, the others may not.
HOT: no update writes to an index. A call that returns and changes no row keeps no promise, unless the header says that
it `may match nothing`. The rows locked against other writers are exactly as many as promised: with fewer,
writers would pass each other; and none is locked more strongly than FOR NO KEY UPDATE, or than the line says: `1 row
of sessions FOR UPDATE`, `any rows of messages FOR UPDATE`. dal.gate.header.grammar has every word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, takewhile
from pathlib import Path
from typing import TypeVar

from dal.gate.errors import GateError
from dal.gate.header.grammar import LINES, OPTIONAL, Hot, Lock, MayMatchNothing, RoundTrips, expected, promise_of
from dal.gate.header.promises import Advisory, Bound, Cap, Never, Promises, Rows, Waits

T = TypeVar("T")

_NAME = re.compile(r"-- *name *: *([\w-]+)")
_LABEL = re.compile(r"-- *(?P<label>[A-Za-z]+(?: [A-Za-z]+)?) *: *(?P<text>.*)")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a header that is missing or not understood."""

    path: Path
    line: int
    query: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: query {self.query}: {self.reason}"


class PromiseError(GateError):
    """Headers that cannot be understood: every problem with its file, its line, its query and the accepted words."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def name_of(line: str) -> str | None:
    """Return the name of the query that begins in this line, as aiosql spells it."""
    found = _NAME.match(line)
    return found[1].replace("-", "_") if found else None


def parse(path: Path, name: str) -> Promises:
    """Read the promises of a query; PromiseError with everything that is missing or not understood."""
    header = _Header(path, name)
    lines = header.lines()
    made = {label: list(header.promises(label, *lines[label])) for label in LINES if label in lines}
    header.check(lines, made)
    if header.problems:
        raise PromiseError(sorted(header.problems, key=lambda problem: problem.line))
    return _collect(path, lines, made)


class _Header:
    """The comment above a query, and the problems found in it."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._text = path.read_text(encoding="utf-8").splitlines()
        self.problems: list[Problem] = []
        self._start = next((n for n, line in enumerate(self._text, start=1) if name_of(line) == name), 0)
        if not self._start:
            raise PromiseError([Problem(path, 1, name, "the file holds no such query")])

    def _refuse(self, line: int, reason: str) -> None:
        self.problems.append(Problem(self._path, line, self._name, reason))

    def lines(self) -> dict[str, tuple[int, str]]:
        """Return the lines that hold promises, with their continuations, and where each begins."""
        found: dict[str, tuple[int, str]] = {}
        label = ""
        comment = takewhile(lambda line: line.startswith("--"), self._text[self._start :])
        for number, line in enumerate(comment, start=self._start + 1):
            match = _LABEL.fullmatch(line)
            if match and match["label"] in LINES:
                label = match["label"]
                if label in found:
                    self._refuse(number, f"`{label}:` stands twice")
                found[label] = (number, match["text"])
            elif label and line.startswith("--   "):
                found[label] = (found[label][0], f"{found[label][1]} {line[2:].strip()}")
            else:
                self._check_comment(number, line, found.get(label, (0, ""))[1])
                label = ""
        return found

    def _check_comment(self, number: int, line: str, before: str) -> None:
        """Refuse a comment that was meant as a promise: it would never be measured."""
        match = _LABEL.fullmatch(line)
        if match and (meant := get_close_matches(match["label"].capitalize(), LINES, cutoff=0.8)):
            self._refuse(number, f"`{match['label']}:` is no header line; write `-- {meant[0]}:`")
        if before.rstrip().endswith((";", ",")) and not match:
            self._refuse(number, "continues the line before, which ends in ; or , and must be indented by three spaces")

    def promises(self, label: str, line: int, text: str) -> Iterator[object]:
        """Yield the promises of a line."""
        parts = [part.strip() for part in text.split(";") if part.strip()]
        if not parts:
            self._refuse(line, f"`{label}:` says nothing; expected {expected(label)}")
        for part, times in Counter(parts).items():
            if times > 1:
                self._refuse(line, f"{part!r} stands twice")
            try:
                yield promise_of(label, line, part)
            except ValueError as error:
                self._refuse(line, str(error))

    def check(self, lines: Mapping[str, tuple[int, str]], made: Mapping[str, Sequence[object]]) -> None:
        """Refuse a header that lacks a line, or a promise that another one needs."""
        for label in (label for label in LINES if label not in {*OPTIONAL, *lines}):
            self._refuse(self._start, f"missing required header line `-- {label}:`; accepted: {expected(label)}")
        if "Promises" in made and len(_of(RoundTrips, made["Promises"])) != 1:
            self._refuse(lines["Promises"][0], "`Promises:` needs one `<number> round trips`")
        axes = {bound.axis for bound in _of(Bound, made.get("Promises", ()))}
        for rows in _of(Rows, made.get("Locks", ())):
            if rows.each and rows.each not in axes:
                self._refuse(
                    lines["Locks"][0], f"{rows}: no growth in {rows.each} is promised, so nothing is measured there"
                )
        tables = Counter(chain.from_iterable(lock.tables for lock in _of(Lock, made.get("Locks", ()))))
        for table in (table for table, times in tables.items() if times > 1):
            self._refuse(lines["Locks"][0], f"two locks on {table}; name the stronger one")


def _of(kind: type[T], made: Sequence[object]) -> tuple[T, ...]:
    return tuple(one for one in made if isinstance(one, kind))


def _collect(path: Path, lines: Mapping[str, tuple[int, str]], made: Mapping[str, Sequence[object]]) -> Promises:
    (trips,) = _of(RoundTrips, made["Promises"])
    return Promises(
        path=path,
        round_trips=trips.number,
        hot=bool(_of(Hot, made["Promises"])),
        may_match_nothing=bool(_of(MayMatchNothing, made["Promises"])),
        line=lines["Promises"][0],
        bounds=_of(Bound, made["Promises"]),
        caps=_of(Cap, made["Promises"]),
        held=_of(Bound, made.get("Held snapshot", ())),
        locks={table: lock.mode for lock in _of(Lock, made["Locks"]) for table in lock.tables},
        rows=_of(Rows, made["Locks"]),
        advisory=next(iter(_of(Advisory, made["Locks"])), Advisory(0)),
        waits=next(iter(_of(Waits, made["Locks"])), None),
        locks_line=lines["Locks"][0],
        never=_of(Never, made["Never"]),
    )
