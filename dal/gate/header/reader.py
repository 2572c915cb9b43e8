"""Read the comments above the queries of a file. This is the only parser of headers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from dal.gate.header.grammar import LINES

_NAME = re.compile(r"-- *name *: *(?P<name>[\w-]+)(?:\((?P<parameters>[^)]*)\))?(?P<operator>\S*)")
_LABEL = re.compile(r" *(?P<label>[A-Za-z]+(?: [A-Za-z]+)?) *: *(?P<text>.*)")
_CONTINUATION = " " * 3
_SENTENCE = re.compile(r".+?\.(?=\s|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """A header line with its continuations, or any other line of the comment."""

    label: str | None
    """The text before the colon, even if it is not a header word."""
    number: int
    """Its line in the file."""
    text: str
    """The text after the header word and its colon, or else the whole line."""

    @property
    def word(self) -> str | None:
        """The header word."""
        return self.label if self.label in LINES else None


@dataclass(frozen=True, slots=True)
class Header:
    """The comment above a query."""

    name: str
    parameters: tuple[str, ...]
    operator: str
    """aiosql's operator, such as `^`."""
    number: int
    """The line of the query's name in the file."""
    source: str
    """The text of the whole query, with this comment."""
    entries: tuple[Entry, ...]

    def text_of(self, word: str) -> str | None:
        """Return the text of a header line, or None if there is no such line."""
        return next((entry.text for entry in self.entries if entry.word == word), None)

    @property
    def purpose(self) -> str:
        """The first paragraph, up to an empty comment or a header line."""
        paragraph = takewhile(lambda entry: entry.word is None and entry.text, self.entries)
        return "\n".join(entry.text for entry in paragraph)

    @property
    def summary(self) -> str:
        """The first sentence of the purpose, in one line."""
        found = _SENTENCE.match(self.purpose)
        return " ".join((found[0] if found else self.purpose).split())


def read(text: str) -> dict[str, Header]:
    """Return the header of each query in a file, by the query's name."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if _NAME.match(line)]
    ends = [*starts[1:], len(lines)]
    headers = (_header(lines[start:end], start + 1) for start, end in zip(starts, ends, strict=True))
    return {header.name: header for header in headers}


def _header(lines: Sequence[str], number: int) -> Header:
    found = _NAME.match(lines[0])
    assert found, "the caller searched for it"  # noqa: S101 - for mypy
    comment = takewhile(lambda line: line.startswith("--"), lines[1:])
    return Header(
        name=found["name"].replace("-", "_"),  # As aiosql spells it.
        parameters=tuple(name.strip() for name in (found["parameters"] or "").split(",") if name.strip()),
        operator=found["operator"],
        number=number,
        source="\n".join(lines).rstrip(),
        entries=tuple(_entries([line.removeprefix("--") for line in comment], number + 1)),
    )


def _entries(comment: Sequence[str], first: int) -> Iterator[Entry]:
    entry: Entry | None = None
    for number, line in enumerate(comment, start=first):
        if entry and entry.word and line.startswith(_CONTINUATION):
            entry = Entry(entry.label, entry.number, f"{entry.text}\n{line.strip()}")
            continue
        if entry:
            yield entry
        entry = _entry(line, number)
    if entry:
        yield entry


def _entry(line: str, number: int) -> Entry:
    found = _LABEL.fullmatch(line)
    label = found["label"] if found else None
    return Entry(label, number, found["text"] if found and label in LINES else line.removeprefix(" "))
