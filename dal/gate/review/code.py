"""SQL for a page: highlighted, with lines that can be linked to, and what changed in it line by line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers.sql import PostgresLexer  # type: ignore[import-untyped]

_SENTENCE = re.compile(r".+?\.(?=\s|$)", re.DOTALL)
_LABELLED = re.compile(r"(Index|Rows locked|Promises|Held snapshot|Locks|Never|Returns): ")


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
    """What a query is for, by its header: the first sentence, and the rest of the first paragraph."""
    paragraph: list[str] = []
    for line in source.splitlines()[1:]:
        text = line.removeprefix("--").strip()
        if not line.startswith("--") or not text or _LABELLED.match(text):
            break
        paragraph.append(text)
    told = " ".join(paragraph)
    sentence = _SENTENCE.match(told)
    first = sentence[0] if sentence else told
    return first, told[len(first) :].strip()


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
