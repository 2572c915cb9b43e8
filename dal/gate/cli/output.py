"""Where the command line writes: what was asked for to stdout, all else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_WIDTH = 100
"""Of what is piped or kept in a file, unless COLUMNS says another."""


class _Console(Console):
    """A console that shows every text as it is.

    Names and errors come from tables and files of others. A control character in them is shown as its escape, so that
    none reaches the terminal, and nothing in them is markup.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object; only rich itself sends control codes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def visible(text: str) -> str:
    """Return a text in which every character can be seen: of others, its escape in Python."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    with suppress(AttributeError):  # A stream that is closed, or is no TextIOWrapper.
        # A terminal or a file that cannot show a sign gets a question mark.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    shows_all = (stream is not None and stream.isatty()) or "COLUMNS" in os.environ
    return _Console(stderr=stderr, width=None if shows_all else _WIDTH, highlight=False, markup=False, emoji=False)


out = _console(stderr=False)
err = _console(stderr=True)


def complain(error: object) -> None:
    """Tell an error in one line."""
    err.print(Text(visible(f"dal: {' '.join(str(error).split())}"), style="red"), soft_wrap=True)
