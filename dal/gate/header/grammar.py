"""The grammar of a query's header: its lines, the forms of the promises in them, and the words in those forms.

A new kind of promise is a class in dal.gate.header.promises and a form in LINES. Error messages, the documentation,
the editor stubs and the review pages come from LINES and WORDS.
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
    SHARDS,
    UNITS,
    Advisory,
    Bound,
    Cap,
    Growth,
    Never,
    RemoteCommands,
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
    "record": (r"[A-Z]\w*", None),
    "text": (r"[\s\S]+", None),
}
"""The words in the forms: the pattern of each, and its accepted values, or None if it accepts any."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """The maximum number of round trips."""

    number: int


@dataclass(frozen=True, slots=True)
class Hot:
    """Every update is a heap-only tuple (HOT) update."""


@dataclass(frozen=True, slots=True)
class MayMatchNothing:
    """A call that returns and changes no row counts as a measurement."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The strongest lock on some tables."""

    mode: str
    tables: tuple[str, ...]


def _bound(found: Mapping[str, str], line: int, cap: Cap | None = None) -> Bound:
    divisor = _number(found) if "number" in found and cap is None else None
    return Bound(found["metric"], Growth(list(GROWTHS).index(found["growth"])), found["axis"], line, divisor, cap)


def _capped(found: Mapping[str, str], line: int) -> Bound:
    if METRICS[found["metric"]] != UNITS[found["unit"]]:
        raise ValueError(f"the growth is in {found['metric']}, but the cap is in {found['unit']}")
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
    """A way to write a promise. A word in <> is one of WORDS; a part in [] is optional."""

    text: str
    make: Callable[[Mapping[str, str], int], object]

    @property
    def words(self) -> list[str]:
        """The words in this form."""
        return re.findall(r"<([\w ]+)>", self.text)

    def match(self, part: str) -> dict[str, str] | None:
        """Return the values of the words if a promise has this form."""
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


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a header."""

    meaning: str
    example: str
    forms: tuple[Form, ...] = ()
    """The ways to write a promise in it; none if the line accepts any text."""
    is_measured: bool = False
    """Whether the gate measures it. The other lines are for readers and for other tools."""
    is_required: bool = False


LINES: dict[str, Line] = {
    "Promises": Line(
        "the cost of one call: round trips, growth with the data, and caps",
        "1 round trip; buffers O(log n) in the orders; at most 20 buffers",
        (
            Form("<number> round trip[s]", lambda found, _: RoundTrips(_number(found))),
            Form("HOT", lambda _found, _line: Hot()),
            Form("may match nothing", lambda _found, _line: MayMatchNothing()),
            *_BOUNDS,
            Form(f"{_GROWTH}, at most <number> <unit>[ <each>]", _capped),
            Form("at most <number> <unit>", _cap),
            Form("no <unit>", lambda found, line: Cap(0, found["unit"], line)),
        ),
        is_measured=True,
        is_required=True,
    ),
    "Held snapshot": Line(
        "growth with the writes since another transaction took its snapshot",
        "buffers O(n) in the updates since, at most n/50",
        _BOUNDS,
        is_measured=True,
    ),
    "Remote commands": Line(
        "the commands that a Citus cluster's coordinator sends to other nodes; several promises are added up",
        "O(shards), at most 2 each; 3 for each of the deleted orders",
        (
            Form("[at most ]<number>", lambda found, _: RemoteCommands(_number(found))),
            Form("O(shards)", lambda _found, _line: RemoteCommands(None, SHARDS)),
            Form("O(shards), at most <number> each", lambda found, _: RemoteCommands(_number(found), SHARDS)),
            Form("<number> for each of <axis>", lambda found, _: RemoteCommands(_number(found), found["axis"])),
        ),
        is_measured=True,
    ),
    "Locks": Line(
        "the strongest lock on each table, the locked rows, and the tables where the call waits",
        "RowExclusive on orders; 1 row of orders; waits for rows of orders",
        (
            _NONE,
            Form("<mode> on <tables>", _lock),
            Form("<number> row[s] of <table>[ <row lock>][ for each of <axis>]", _rows),
            Form("any rows of <table> <row lock>", _rows),
            Form("<number> advisory lock[s]", lambda found, _: Advisory(_number(found))),
            Form("waits for nobody", lambda _found, _line: Waits()),
            Form("waits for rows of <tables>", lambda found, _: Waits(_tables(found))),
        ),
        is_measured=True,
        is_required=True,
    ),
    "Never": Line(
        "plan nodes that no plan of the query has",
        "Seq Scan; Sort on orders",
        (_NONE, Form("<node>[ on <table>]", lambda found, line: Never(found["node"], found.get("table"), line))),
        is_measured=True,
        is_required=True,
    ),
    "One statement": Line("why one statement is enough, or needed", "the upsert takes the number and the lock at once"),
    "Index": Line("the indexes that serve the query", "orders_pkey"),
    "Rows locked": Line("the rows that are locked, and until when", "the order's row, until the commit"),
    "Repeat": Line(
        "whether the statement may be sent again if its reply was lost, and why",
        "safe: it only reads",
        (Form("safe: <text>", lambda _found, _line: True), Form("not safe: <text>", lambda _found, _line: False)),
    ),
    "Returns": Line(
        "the record that each row becomes, and what an empty result means",
        "Order; no row if there is no such order",
        (Form("<record>; <text>", lambda found, _: found["record"]),),
    ),
}
"""Every line of a header."""

MEASURED = tuple(word for word, line in LINES.items() if line.is_measured)


def promise_of(label: str, line: int, part: str) -> object:
    """Return the promise in a part of a line; raise ValueError if it has no known form."""
    for form in LINES[label].forms:
        if (found := form.match(part)) is None:
            continue
        for word, value in found.items():
            accepted = WORDS[word][1]
            if accepted is not None and value not in accepted:
                raise ValueError(f"{part!r}: unknown {word} {value!r}; known: {', '.join(accepted)}")
        return form.make(found, line)
    raise ValueError(f"{part!r} is not understood; expected {expected(label)}")


def expected(label: str) -> str:
    """Describe the accepted forms of a line, and the accepted values of the words in them."""
    forms = ", ".join(f"`{form.text}`" for form in LINES[label].forms)
    words = dict.fromkeys(chain.from_iterable(form.words for form in LINES[label].forms))
    choices = [f"{word}: {', '.join(accepted)}" for word in words if (accepted := WORDS[word][1])]
    return "; ".join([forms, *choices])
