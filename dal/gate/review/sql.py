"""SQL for a page: highlighted, with lines that can be linked to, and what changed in it line by line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers.sql import PostgresLexer  # type: ignore[import-untyped]

from dal.gate.header.reader import read


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a diff: whether it was added ("+"), removed ("-"), stayed (" ") or stands for some left out ("@")."""

    sign: str
    text: str


def highlighted(text: str, first_line: int) -> Markup:
    """The text as spans, each line in one of its own, whose id is its number in the file: `L9`."""
    spans = highlight(text, PostgresLexer(stripnl=False), HtmlFormatter(nowrap=True)).rstrip("\n")
    lines = "\n".join(f'<span id="L{n}">{line}</span>' for n, line in enumerate(spans.split("\n"), start=first_line))
    return Markup(lines)  # noqa: S704 - escaped by Pygments


def purpose(source: str) -> tuple[str, str]:
    """Return the first sentence of a query's purpose, and the rest of that paragraph."""
    (header,) = read(source).values()
    paragraph = " ".join(header.purpose.split())
    return header.summary, paragraph.removeprefix(header.summary).strip()


def difference(before: str, after: str) -> list[Line]:
    """What changed, with a few lines around it; nothing if nothing did."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=3, lineterm="")
    return list(_signed(list(lines)[2:]))  # Without the names of the files.


def _signed(lines: list[str]) -> Iterator[Line]:
    for line in lines:
        if line.startswith("@@"):
            yield Line("@", line)
        else:
            yield Line(line[0], line[1:])
