"""The progress of long commands, on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dal.gate.cli.output import err


@contextmanager
def progress() -> Iterator[Callable[[str, float | None], None]]:
    """Yield a function that shows what was done, and how much of the whole that is, from 0 to 1 or None."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(what: str, fraction: float | None) -> None:
            bar.update(task, description=what, completed=fraction or 0, total=None if fraction is None else 1)

        yield report
