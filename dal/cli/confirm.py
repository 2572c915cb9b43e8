"""Ask before a command deletes something."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import typer

from dal.cli.progress import progress
from dal.errors import InvalidInput
from dal.gate.cli.output import errors
from dal.records import SessionRecord

_REPORTED = 1000
"""Sessions between two reports of the progress."""


def count(records: Iterable[SessionRecord]) -> tuple[int, int]:
    """Return the number of sessions, and of their messages."""
    sessions = messages = 0
    with progress() as report:
        for record in records:
            sessions += 1
            messages += record.message_count
            if sessions % _REPORTED == 0:
                report(f"{sessions:,} sessions found", None)
    return sessions, messages


def confirm(what: str) -> None:
    """Ask on the terminal; typer's own question writes to stdout too."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise InvalidInput("--yes", "is needed: stdin is not a terminal, so nobody can confirm")
    errors.print(f"Delete {what}? [y/N] ", end="", soft_wrap=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Abort
