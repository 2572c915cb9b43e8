"""The output of the command line: results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable
from contextlib import suppress

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_WIDTH = 100
"""The width of piped output, unless COLUMNS is set."""


class _Console(Console):
    """A console that shows every text literally.

    Names and errors may come from other people's tables and files. Their control characters are escaped, so that none
    reaches the terminal, and nothing in them is markup.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object. Only rich itself may send control codes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def visible(text: str) -> str:
    """Return a text with every unprintable character escaped as in Python, except spaces and joiners."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or _is_harmless(char) else ascii(char)[1:-1] for char in text)


def _is_harmless(char: str) -> bool:
    """Return whether a character that Python calls unprintable is a space, or joins letters or emoji."""
    return char in "\n\t\u200c\u200d" or unicodedata.category(char) == "Zs"


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    with suppress(AttributeError):  # There is no such stream, or it is not a TextIOWrapper.
        # Show a question mark for a character that the terminal or file cannot encode.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    shows_all = (stream is not None and stream.isatty()) or "COLUMNS" in os.environ
    return _Console(stderr=stderr, width=None if shows_all else _WIDTH, highlight=False, markup=False, emoji=False)


out = _console(stderr=False)
err = _console(stderr=True)
"""For progress and notes, which -q suppresses."""
errors = _console(stderr=True)


def say(text: str) -> None:
    """Print to stdout what a command has done, unless -q suppresses it."""
    if not err.quiet:
        out.print(text, soft_wrap=True)


def print_error(error: object) -> None:
    """Print an error in one line."""
    errors.print(Text(visible(f"dal: {' '.join(str(error).split())}"), style="red"), soft_wrap=True)
