"""`-q` and `-v`, which every command accepts."""

from __future__ import annotations

import logging

import typer

from dal.gate.cli.output import err


class _Lines(logging.Handler):
    """Prints log records to stderr, with their control characters escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        err.print(f"{record.levelname.lower()}: {record.getMessage()}", soft_wrap=True)


_LINES = _Lines()
_LOG = logging.getLogger("dal")


def set_quiet(context: typer.Context, asked: bool) -> None:  # noqa: FBT001 - typer's callback
    """Suppress progress and notes; before a command without -q, show them."""
    if asked or context.parent is None:
        err.quiet = asked


def set_verbose(context: typer.Context, asked: bool) -> None:  # noqa: FBT001 - typer's callback
    """Print the library's log; before a command without -v, do not."""
    if asked:
        _LOG.addHandler(_LINES)
        _LOG.setLevel(logging.DEBUG)
    elif context.parent is None:
        _LOG.removeHandler(_LINES)
        _LOG.setLevel(logging.NOTSET)
