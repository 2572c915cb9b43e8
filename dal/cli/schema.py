"""`dal schema`: the tables."""

from __future__ import annotations

import sys
from typing import Annotated

import psycopg
import typer

from dal._sync.queries import queries
from dal._sync.store import SessionStore
from dal.cli.connection import connected, place
from dal.errors import DalError, SchemaMismatch
from dal.files import SCHEMA
from dal.gate.cli.output import err, out
from dal.records import SchemaFact
from dal.schema import drift, migrations
from dal.schema import grants as privileges
from dal.schema.check import SchemaCheck, require_server

app = typer.Typer(
    help="Print, create, upgrade or check the tables: "
    "[dim]schema print, schema apply, schema upgrade, schema check, schema grants[/dim].",
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
    with connected(given(dsn), schema) as connection:
        SessionStore(connection).apply_schema()
        _checked(connection)
        _report("Applied", connection, schema)


@app.command()
def upgrade(
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL of what is missing instead.")] = False,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Then drop what only older releases need, when none of them runs any more."),
    ] = False,
) -> None:
    """Bring the tables of an older release to this one's version, while services go on writing.

    Each step waits half a second at most for its locks, and is tried again up to 19 times.

    Example: [bold]dal schema upgrade --schema agents[/bold], with the database in DAL_DSN
    """
    with connected(given(dsn), schema) as connection:
        if dry_run:
            for step in [*migrations.missing(connection), *(migrations.finishing() if finish else [])]:
                sys.stdout.write(step.read_text(encoding="utf-8"))
            return

        def tell(told: str) -> None:
            err.print(told, soft_wrap=True)

        migrations.upgrade(connection, tell)
        if finish:
            migrations.finish(connection, tell)
        _report("Up to date", connection, schema)


@app.command()
def check(*, schema: Schema = None, dsn: Dsn = None) -> None:
    """Check that this release can use the tables; exits with 1 and says what is wrong if it cannot.

    Prints every difference from what schema.sql makes. What a service has added is a note, and no error.

    Example: [bold]dal schema check --schema agents[/bold], with the database in DAL_DSN
    """
    with connected(given(dsn), schema) as connection:
        for note in drift.notes(_checked(connection)):
            out.print(f"note: {note}", soft_wrap=True, markup=False)
        _report("OK", connection, schema)


@app.command()
def grants(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role that a service, or an analyst, connects as.")],
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="What an analyst needs: to read, and no more.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Grant it, as the tables' owner, instead of printing it.")
    ] = False,
) -> None:
    """Print what gives a role the privileges that it needs on the tables, and takes all others on them.

    Example: [bold]dal schema grants service --schema agents --apply[/bold], with the database in DAL_DSN
    """
    with connected(given(dsn), schema) as connection:
        _checked(connection)
        text = privileges.grants(connection, role, read_only=read_only)
        if not apply:
            sys.stdout.write(text.as_string(connection))
            return
        with connection.transaction():
            connection.execute(text)
        out.print(f"Granted to {role}, in {place(connection, schema)}.", soft_wrap=True)


def _checked(connection: psycopg.Connection) -> list[SchemaFact]:
    """Return how the tables are made; SchemaMismatch, and a line for each error, unless this release can use them."""
    require_server(connection)
    found = queries.schema.check(connection)
    try:
        SchemaCheck().compare(found, connection)
    except SchemaMismatch as error:
        for difference in error.differences:
            out.print(f"error: {difference}", soft_wrap=True, markup=False)
        raise
    return found


def _report(what: str, connection: psycopg.Connection, schema: str | None) -> None:
    found = queries.schema.version(connection)
    out.print(f"{what}: version {found and found.version}, in {place(connection, schema)}.", soft_wrap=True)


def given(dsn: str | None) -> str:
    """The database, which must be named."""
    if dsn is None:
        raise DalError("which database? give --dsn, or set DAL_DSN, as in --dsn postgresql://user@host/database")
    return dsn
