"""SQL for a page: highlighted, with links to lines, and as a diff."""

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
    """A line of a diff: added ("+"), removed ("-"), unchanged (" ") or an omission ("@")."""

    sign: str
    text: str


def highlighted(text: str, first_line: int) -> Markup:
    """Return the text as spans, one per line, with the line number of the file as its id, such as `L9`."""
    spans = highlight(text, PostgresLexer(stripnl=False), HtmlFormatter(nowrap=True)).rstrip("\n")
    lines = "\n".join(f'<span id="L{n}">{line}</span>' for n, line in enumerate(spans.split("\n"), start=first_line))
    return Markup(lines)  # noqa: S704 - escaped by Pygments


def purpose(source: str) -> tuple[str, str]:
    """Return the first sentence of a query's purpose, and the rest of that paragraph."""
    (header,) = read(source).values()
    paragraph = " ".join(header.purpose.split())
    return header.summary, paragraph.removeprefix(header.summary).strip()


def difference(before: str, after: str) -> list[Line]:
    """Return the changed lines with the lines around them; an empty list if the texts are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=3, lineterm="")
    return list(_signed(list(lines)[2:]))  # Without the file names.


def _signed(lines: list[str]) -> Iterator[Line]:
    for line in lines:
        if line.startswith("@@"):
            yield Line("@", line)
        else:
            yield Line(line[0], line[1:])
