"""Files that commands write. A command replaces an existing file only with --force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal.gate.errors import FileRefused

Force = Annotated[bool, typer.Option("--force", "-f", help="Replace a file that exists.")]


def refuse_overwriting(path: Path, *, force: bool) -> None:
    """Raise FileRefused if a file has content that would be lost."""
    if not force and path.is_file() and path.stat().st_size:
        raise FileRefused(f"{path} exists already; use --force to replace it")


def write_text(path: Path, text: str) -> None:
    """Write a file; raise FileRefused if that is impossible."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileRefused(f"cannot write {path}: {error.strerror}") from error
