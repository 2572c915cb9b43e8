"""`dal init`: a copy of the example."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from dal.gate.cli.output import say
from dal.gate.errors import InvalidInput

_EXAMPLE = Path(__file__).parent.parent / "example"


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", file_okay=False, help="A new folder for the example.")],
) -> None:
    """Copy a small example of queries with promises into a new folder, to try [bold]dal check[/bold].

    It has queries, a schema, fixtures, and a pyproject.toml in which dal check finds them.

    Example: [bold]dal init todo && cd todo && dal check[/bold]
    """
    if folder.exists():
        raise InvalidInput("FOLDER", f"{folder} exists already")
    shutil.copytree(_EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    say(f"{folder}: an example with 3 queries. Next: cd {folder} && dal check")
