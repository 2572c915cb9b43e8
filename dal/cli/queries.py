"""`dal queries`: every statement that the library sends."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer
from rich.table import Table

from dal._sync.queries import queries as library
from dal.errors import InvalidInput
from dal.gate.cli.output import out
from dal.gate.header.reader import read
from dal.sql.loader import Statement


def _names() -> list[str]:
    return list(library)


def queries(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", autocompletion=_names, help="A query, such as messages.append."),
    ] = None,
) -> None:
    """List every statement that the library sends, or show the file of one.

    Examples: [bold]dal queries[/bold], [bold]dal queries messages.append[/bold]
    """
    if name is None:
        out.print(_table([library[one] for one in library]))
    elif name in library:
        _show(library[name])
    else:
        raise InvalidInput("NAME", f"no query {name!r}; {_advice(name)}")


def _table(statements: list[Statement]) -> Table:
    table = Table(caption="dal queries NAME shows one of them", caption_justify="left")
    table.add_column("Query", style="bold", no_wrap=True)
    table.add_column("What it does", ratio=3)
    table.add_column("Parameters", ratio=2, style="dim")
    for one in statements:
        table.add_row(one.name, _summary(one), ", ".join(sorted(one.parameters)))
    return table


def _summary(statement: Statement) -> str:
    return read(statement.path.read_text(encoding="utf-8"))[statement.path.stem].summary


def _show(statement: Statement) -> None:
    text = statement.path.read_text(encoding="utf-8")
    if out.is_terminal:
        from rich.syntax import Syntax  # noqa: PLC0415 - slow, and only needed here

        out.print(Syntax(text, "postgresql", theme="ansi_dark", background_color="default", word_wrap=True))
    else:
        print(text, end="")


def _advice(name: str) -> str:
    near = [one for one in library if name in one]
    near += [one for one in difflib.get_close_matches(name, library, cutoff=0.5) if one not in near]
    return f"did you mean {' or '.join(near[:4])}?" if near else "dal queries lists them"
