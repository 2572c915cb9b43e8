"""`dal schema`: the tables."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dal._sync.store import SessionStore
from dal.cli.connection import connected, place
from dal.cli.output import out
from dal.errors import DalError
from dal.files import SCHEMA
from dal.schema import VERSION

app = typer.Typer(
    help="Print, create or check the tables: [dim]schema print, schema apply, schema check[/dim].",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        envvar="DAL_DSN",
        metavar="CONNINFO",
        help="The database: postgresql://user@host/database, or 'host=… dbname=…'.",
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="NAME",
        help="The schema that holds the tables. Without it the first of the search_path, which mostly is public.",
    ),
]


@app.command("print")
def print_() -> None:
    """Print schema.sql as it is, for a review or for psql.

    Example: [bold]dal schema print | psql --single-transaction --set ON_ERROR_STOP=1[/bold]
    """
    sys.stdout.buffer.write(SCHEMA.read_bytes())
    sys.stdout.flush()


@app.command()
def apply(*, schema: Schema = None, dsn: Dsn = None) -> None:
    """Create the tables where they are missing; doing it twice is harmless.

    Example: [bold]dal schema apply --schema agents --dsn postgresql://me@localhost/mine[/bold]
    """
    with connected(_given(dsn), schema) as connection:
        SessionStore(connection).apply_schema()
        out.print(f"Applied: version {VERSION}, in {place(connection, schema)}.", soft_wrap=True)


@app.command()
def check(*, schema: Schema = None, dsn: Dsn = None) -> None:
    """Check that the tables are those of this release; exits with 1 and says what to run if they are not.

    Example: [bold]dal schema check --schema agents[/bold], with the database in DAL_DSN
    """
    with connected(_given(dsn), schema) as connection:
        SessionStore(connection).check_schema()
        out.print(f"As they should be: version {VERSION}, in {place(connection, schema)}.", soft_wrap=True)


def _given(dsn: str | None) -> str:
    if dsn is None:
        raise DalError("which database? give --dsn, or set DAL_DSN, as in --dsn postgresql://user@host/database")
    return dsn
