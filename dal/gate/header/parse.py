"""Parse the promises in the header of a query. Every unknown word is an error.

    -- Promises: 1 round trip; HOT; buffers O(log n) in the list's tasks, at most 30 buffers;
    --   at most 6 WAL records
    -- Held snapshot: buffers O(n) in the updates since, at most n/50
    -- Locks: RowExclusive on lists, tasks; 1 row of lists
    -- Never: Seq Scan; Sort on tasks

A line continues on lines that are indented by three spaces. dal.gate.header.grammar has all lines and words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import TypeVar

from dal.gate.errors import GateError
from dal.gate.header.grammar import LINES, MEASURED, Hot, Lock, MayMatchNothing, RoundTrips, expected, promise_of
from dal.gate.header.promises import Advisory, Bound, Cap, Never, Promises, RemoteCommands, Rows, Waits
from dal.gate.header.reader import Entry, Header, read

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a header that is missing or invalid."""

    path: Path
    line: int
    query: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: query {self.query}: {self.reason}"


class PromiseError(GateError):
    """Some headers are invalid. `problems` has every problem, with its file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def parse(path: Path, name: str) -> Promises:
    """Return the promises of a query; raise PromiseError with every problem in its header."""
    header = read(path.read_text(encoding="utf-8")).get(name)
    if header is None:
        raise PromiseError([Problem(path, 1, name, "the file has no such query")])
    parser = _Parser(path, header)
    lines = parser.lines()
    promises = {word: list(parser.promises(entry)) for word, entry in lines.items()}
    parser.check(lines, promises)
    if parser.problems:
        raise PromiseError(sorted(parser.problems, key=lambda problem: problem.line))
    return _collect(path, lines, promises)


class _Parser:
    """Parses one header, and collects its problems."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._header = header
        self.problems: list[Problem] = []

    def _refuse(self, line: int, reason: str) -> None:
        self.problems.append(Problem(self._path, line, self._header.name, reason))

    def lines(self) -> dict[str, Entry]:
        """Return the lines with promises, by their words."""
        found: dict[str, Entry] = {}
        entries = self._header.entries
        for before, entry in zip((None, *entries), entries, strict=False):
            if entry.word is None:
                self._check_comment(before, entry)
            elif entry.word in MEASURED:
                if entry.word in found:
                    self._refuse(entry.number, f"duplicate line `{entry.word}:`")
                found[entry.word] = entry
        return {word: found[word] for word in MEASURED if word in found}

    def _check_comment(self, before: Entry | None, entry: Entry) -> None:
        """Refuse a comment that was probably meant as a promise, since it would never be measured."""
        if entry.label and (meant := get_close_matches(entry.label.capitalize(), MEASURED, cutoff=0.8)):
            self._refuse(entry.number, f"`{entry.label}:` is not a header line; did you mean `-- {meant[0]}:`?")
        is_open = before is not None and before.word in MEASURED and before.text.endswith((";", ","))
        if is_open and not entry.label:
            self._refuse(entry.number, "the line before ends in ; or , so this line must be indented by three spaces")

    def promises(self, entry: Entry) -> Iterator[object]:
        """Yield the promises of a line."""
        word = str(entry.word)
        parts = [" ".join(part.split()) for part in entry.text.split(";") if part.strip()]
        if not parts:
            self._refuse(entry.number, f"`{word}:` is empty; expected {expected(word)}")
        for part, times in Counter(parts).items():
            if times > 1:
                self._refuse(entry.number, f"duplicate promise {part!r}")
            try:
                yield promise_of(word, entry.number, part)
            except ValueError as error:
                self._refuse(entry.number, str(error))

    def check(self, lines: Mapping[str, Entry], promises: Mapping[str, Sequence[object]]) -> None:
        """Check for missing lines, and for promises that depend on others."""
        for word, line in LINES.items():
            if line.is_required and word not in lines:
                self._refuse(
                    self._header.number, f"missing required header line `-- {word}:`; accepted: {expected(word)}"
                )
        if "Promises" in lines and len(_of(RoundTrips, promises["Promises"])) != 1:
            self._refuse(lines["Promises"].number, "`Promises:` needs exactly one `<number> round trips`")
        if "Locks" in lines:
            self._check_locks(lines["Locks"].number, promises)

    def _check_locks(self, line: int, promises: Mapping[str, Sequence[object]]) -> None:
        axes = {bound.axis for bound in _of(Bound, promises.get("Promises", ()))}
        for rows in _of(Rows, promises["Locks"]):
            if rows.each and rows.each not in axes:
                self._refuse(line, f"{rows}: not measured, since no growth in {rows.each} is promised")
        tables = Counter(chain.from_iterable(lock.tables for lock in _of(Lock, promises["Locks"])))
        for table in (table for table, times in tables.items() if times > 1):
            self._refuse(line, f"two locks on {table}; list only the stronger one")


def _of(kind: type[T], promises: Sequence[object]) -> tuple[T, ...]:
    return tuple(one for one in promises if isinstance(one, kind))


def _collect(path: Path, lines: Mapping[str, Entry], promises: Mapping[str, Sequence[object]]) -> Promises:
    costs, locks = promises["Promises"], promises["Locks"]
    (trips,) = _of(RoundTrips, costs)
    return Promises(
        path=path,
        round_trips=trips.number,
        hot=bool(_of(Hot, costs)),
        may_match_nothing=bool(_of(MayMatchNothing, costs)),
        line=lines["Promises"].number,
        bounds=_of(Bound, costs),
        caps=_of(Cap, costs),
        held=_of(Bound, promises.get("Held snapshot", ())),
        locks={table: lock.mode for lock in _of(Lock, locks) for table in lock.tables},
        rows=_of(Rows, locks),
        advisory=next(iter(_of(Advisory, locks)), Advisory(0)),
        waits=next(iter(_of(Waits, locks)), None),
        locks_line=lines["Locks"].number,
        never=_of(Never, promises["Never"]),
        remote=_of(RemoteCommands, promises.get("Remote commands", ())),
        remote_line=lines["Remote commands"].number if "Remote commands" in lines else 0,
    )
