"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """Output formats."""

    TEXT = "text"
    JSON = "json"


Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        envvar="DAL_DSN",
        metavar="CONNINFO",
        help="The database: postgresql://user@host/database, or 'host=… dbname=…'. Default: libpq's variables, if set.",
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="NAME",
        help="The schema that holds the tables. Default: the first of the search_path, usually public.",
    ),
]
User = Annotated[str | None, typer.Option("--user", metavar="ID", help="Only this user's sessions.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Source = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Only sessions from this source, such as telegram.")
]
Output = Annotated[Format, typer.Option("--format", metavar="FORMAT", help="text, for people; or json, for scripts.")]
