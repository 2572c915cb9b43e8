"""The grammar of a query's header: its lines, the forms of the promises in them, and the words in those.

A new kind of promise is a class in dal.gate.header.promises and a form in LINES. Error messages are made from LINES and
WORDS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import chain

from dal.gate.header.promises import (
    GROWTHS,
    LOCK_MODES,
    METRICS,
    NODES,
    ROW_LOCKS,
    UNITS,
    Advisory,
    Bound,
    Cap,
    Growth,
    Never,
    Rows,
    Waits,
)

WORDS: dict[str, tuple[str, Collection[str] | None]] = {
    "number": (r"\d[\d,]*", None),
    "metric": (r"\w[\w ]*?", METRICS),
    "growth": (r"[^()]*", GROWTHS),
    "unit": (r"\w[\w ]*?", UNITS),
    "axis": (r"[^,;]+?", None),
    "mode": (r"\w+", LOCK_MODES),
    "table": (r"\w+(?:\.\w+)?", None),
    "tables": (r"[\w.]+(?: *, *[\w.]+)*", None),
    "row lock": (r"FOR [A-Z ]+", ROW_LOCKS),
    "node": (r"\w[\w ]*?", NODES),
    "each": ("each", None),
}
"""What can stand for a word in a form: its pattern, and the accepted values if there are only some."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """So many round trips, at most."""

    number: int


@dataclass(frozen=True, slots=True)
class Hot:
    """No update writes to an index."""


@dataclass(frozen=True, slots=True)
class MayMatchNothing:
    """A call that returns and changes no row is measured like any other."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on tables, and none that is stronger."""

    mode: str
    tables: tuple[str, ...]


def _bound(found: Mapping[str, str], line: int, cap: Cap | None = None) -> Bound:
    divisor = _number(found) if "number" in found and cap is None else None
    return Bound(found["metric"], Growth(list(GROWTHS).index(found["growth"])), found["axis"], line, divisor, cap)


def _capped(found: Mapping[str, str], line: int) -> Bound:
    if METRICS[found["metric"]] != UNITS[found["unit"]]:
        raise ValueError(f"the growth is that of {found['metric']}, and the cap that of {found['unit']}")
    return _bound(found, line, _cap(found, line))


def _cap(found: Mapping[str, str], line: int) -> Cap:
    return Cap(_number(found), found["unit"], line, each="each" in found)


def _lock(found: Mapping[str, str], _line: int) -> Lock:
    return Lock(found["mode"], _tables(found))


def _rows(found: Mapping[str, str], _line: int) -> Rows:
    number = _number(found) if "number" in found else None
    return Rows(number, found["table"], found.get("axis"), found.get("row lock", ROW_LOCKS[2]))


def _tables(found: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(table.strip() for table in found["tables"].split(","))


def _number(found: Mapping[str, str]) -> int:
    return int(found["number"].replace(",", ""))


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write a promise. A word in <> is one of WORDS, and a part in [] may be left out."""

    text: str
    make: Callable[[Mapping[str, str], int], object]

    @property
    def words(self) -> list[str]:
        """The words in it."""
        return re.findall(r"<([\w ]+)>", self.text)

    def match(self, part: str) -> dict[str, str] | None:
        """Return the words of a promise that is written in this form."""
        pattern = "".join(map(_pattern, re.split(r"(<[\w ]+>|\[|\])", self.text)))
        found = re.fullmatch(pattern, part)
        return {word.replace("_", " "): value for word, value in found.groupdict().items() if value} if found else None


def _pattern(piece: str) -> str:
    if word := re.fullmatch(r"<([\w ]+)>", piece):
        return f"(?P<{word[1].replace(' ', '_')}>{WORDS[word[1]][0]})"
    return {"[": "(?:", "]": ")?"}.get(piece, re.escape(piece))


_NONE = Form("none", lambda _found, _line: None)
_GROWTH = "<metric> O(<growth>) in <axis>"
_BOUNDS = (Form(_GROWTH, _bound), Form(f"{_GROWTH}, at most n/<number>", _bound))

LINES: dict[str, tuple[Form, ...]] = {
    "Promises": (
        Form("<number> round trip[s]", lambda found, _: RoundTrips(_number(found))),
        Form("HOT", lambda _found, _line: Hot()),
        Form("may match nothing", lambda _found, _line: MayMatchNothing()),
        *_BOUNDS,
        Form(f"{_GROWTH}, at most <number> <unit>[ <each>]", _capped),
        Form("at most <number> <unit>", _cap),
        Form("no <unit>", lambda found, line: Cap(0, found["unit"], line)),
    ),
    "Held snapshot": _BOUNDS,
    "Locks": (
        _NONE,
        Form("<mode> on <tables>", _lock),
        Form("<number> row[s] of <table>[ <row lock>][ for each of <axis>]", _rows),
        Form("any rows of <table> <row lock>", _rows),
        Form("<number> advisory lock[s]", lambda found, _: Advisory(_number(found))),
        Form("waits for nobody", lambda _found, _line: Waits()),
        Form("waits for rows of <tables>", lambda found, _: Waits(_tables(found))),
    ),
    "Never": (
        _NONE,
        Form("<node>[ on <table>]", lambda found, line: Never(found["node"], found.get("table"), line)),
    ),
}
"""Every line of a header, and the forms of the promises in it."""

OPTIONAL = {"Held snapshot"}
"""The lines that may be left out."""


def promise_of(label: str, line: int, part: str) -> object:
    """Return the promise that a part of a line makes; ValueError if none does."""
    for form in LINES[label]:
        if (found := form.match(part)) is None:
            continue
        for word, value in found.items():
            accepted = WORDS[word][1]
            if accepted is not None and value not in accepted:
                raise ValueError(f"{part!r}: {word} {value!r} is unknown; there are {', '.join(accepted)}")
        return form.make(found, line)
    raise ValueError(f"{part!r} is not understood; expected {expected(label)}")


def expected(label: str) -> str:
    """Say what a line accepts: its forms, and the words in them that are not free."""
    forms = ", ".join(f"`{form.text}`" for form in LINES[label])
    words = dict.fromkeys(chain.from_iterable(form.words for form in LINES[label]))
    told = [f"{word}: {', '.join(accepted)}" for word in words if (accepted := WORDS[word][1])]
    return "; ".join([forms, *told])
