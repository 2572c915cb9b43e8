"""Where the command line writes: what was asked for to stdout, all else to stderr."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rich.console import Console
from rich.text import Text

_WIDTH = 100
"""Of what is piped or kept in a file, unless COLUMNS says another."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    with suppress(AttributeError):  # A stream that is no TextIOWrapper.
        # A terminal or a file that cannot show a sign gets a question mark.
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    fixed = None if stream.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(stderr=stderr, width=fixed, highlight=False)


out = _console(stderr=False)
err = _console(stderr=True)


def complain(error: BaseException) -> None:
    """Tell an error in one line."""
    err.print(Text(f"dal: {' '.join(str(error).split())}", style="red"), soft_wrap=True)
