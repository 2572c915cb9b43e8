"""`dal schema`: the tables."""

from __future__ import annotations

import sys
from typing import Annotated

import psycopg
import typer

from dal._sync.queries import queries
from dal._sync.store import SessionStore
from dal.cli.connection import connected, place
from dal.cli.options import Dsn, Schema
from dal.errors import SchemaMismatch
from dal.gate.cli.output import err, out, say
from dal.rows import SchemaFact
from dal.schema import distributed, drift, migrations
from dal.schema import grants as privileges
from dal.schema.check import SchemaCheck, require_server
from dal.sql import SCHEMA
from dal.validate import MAX_SHARDS

_MOST_ROWS = 100
"""The most rows that `dal schema check --rows` prints."""

app = typer.Typer(
    help="Print, create, upgrade or check the tables: "
    "[dim]schema print, schema apply, schema upgrade, schema check, schema grants[/dim].",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command("print")
def print_(
    *,
    is_distributed: Annotated[
        bool, typer.Option("--distributed", help="Also print the SQL that distributes the tables over a Citus cluster.")
    ] = False,
) -> None:
    """Print schema.sql as it is, for a review or for psql.

    Example: [bold]dal schema print | psql --single-transaction --set ON_ERROR_STOP=1[/bold]
    """
    sys.stdout.buffer.write(distributed.script() if is_distributed else SCHEMA.read_bytes())
    sys.stdout.flush()


@app.command()
def apply(
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    is_distributed: Annotated[
        bool, typer.Option("--distributed", help="Also distribute the tables over the nodes of a Citus cluster.")
    ] = False,
    shards: Annotated[
        int, typer.Option(metavar="N", help="With --distributed: the shards of each table.", min=1, max=MAX_SHARDS)
    ] = 32,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="With --distributed: also distribute tables that hold sessions. Nobody can use them meanwhile.",
        ),
    ] = False,
) -> None:
    """Create missing tables; running it again is harmless.

    Example: [bold]dal schema apply --schema agents --dsn postgresql://me@localhost/mine[/bold]
    """
    with connected(dsn, schema) as connection:
        SessionStore(connection).apply_schema(distributed=is_distributed, shards=shards, in_place=in_place)
        _checked(connection)
        _report("Applied", connection, schema)


@app.command()
def upgrade(
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the SQL of the missing steps.")] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            help="Also finish it, once no older release runs: drop what only those need, and change types of columns.",
        ),
    ] = False,
) -> None:
    """Upgrade the tables of an older release, while services write.

    Each step waits at most a quarter of a second for each lock, and is tried again up to 19 times.

    Example: [bold]dal schema upgrade --schema agents[/bold], with the database in DAL_DSN
    """
    with connected(dsn, schema) as connection:
        if dry_run:
            for step in [*migrations.missing(connection), *(migrations.finishing(connection) if finish else [])]:
                sys.stdout.write(step.read_text(encoding="utf-8"))
            sys.stdout.write(migrations.missing_functions(connection))
            return

        def report(line: str) -> None:
            err.print(line, soft_wrap=True)

        migrations.upgrade(connection, report)
        if finish:
            migrations.finish(connection, report)
        _report("Up to date", connection, schema)


@app.command()
def check(
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    rows: Annotated[
        bool, typer.Option("--rows", help="Also read all rows, and check rules that the tables do not enforce.")
    ] = False,
) -> None:
    """Check that this release can use the tables; if it cannot, print the errors and exit with 1.

    Prints every difference from schema.sql. Objects that a service has added are notes, not errors.

    Example: [bold]dal schema check --schema agents[/bold], with the database in DAL_DSN
    """
    with connected(dsn, schema) as connection:
        found = _checked(connection)
        for note in drift.notes(found):
            say(f"note: {note}")
        if rows:
            _check_rows(connection)
        _report("OK", connection, schema)
        if drift.is_distributed(found):
            for warning in distributed.warnings(connection):
                say(f"warning: {warning}")


def _check_rows(connection: psycopg.Connection) -> None:
    """Print the rows that break a rule, and raise SchemaMismatch if there are any."""
    found = queries.schema.broken_rows(connection, limit=_MOST_ROWS)
    for one in found:
        what = f"session {one.session_id!r}" + ("" if one.sequence is None else f", message {one.sequence}")
        out.print(f"error: {what} breaks a rule: {one.rule}", soft_wrap=True)
    if found:
        more = " or more" if len(found) == _MOST_ROWS else ""
        raise SchemaMismatch(
            f"rows break rules that session-dal keeps (errors: {len(found)}{more}), so other SQL has changed them; "
            "correct these rows",
            query="schema.broken_rows",
        )


@app.command()
def grants(  # noqa: PLR0913 - the options of a command
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role of a service or an analyst.")],
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only the privileges to read, for an analyst.")
    ] = False,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Also to annotate stored messages, for a service.")
    ] = False,
    redact: Annotated[bool, typer.Option("--redact", help="Also to redact stored messages, for a service.")] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Run the SQL, as the owner of the tables, instead of printing it.")
    ] = False,
) -> None:
    """Print the SQL that grants a role the necessary privileges on the tables, and revokes all others.

    Example: [bold]dal schema grants service --schema agents --apply[/bold], with the database in DAL_DSN
    """
    with connected(dsn, schema) as connection:
        _checked(connection)
        text = privileges.grants(connection, role, read_only=read_only, annotate=annotate, redact=redact)
        if not apply:
            sys.stdout.write(text.as_string(connection))
            return
        with connection.transaction():
            connection.execute(text)
        say(f"Granted to {role}, in {place(connection, schema)}.")


def _checked(connection: psycopg.Connection) -> list[SchemaFact]:
    """Return the facts about the tables; print the errors and raise SchemaMismatch if this release cannot use them."""
    require_server(connection)
    found = queries.schema.check(connection)
    try:
        SchemaCheck().compare(found, connection)
    except SchemaMismatch as error:
        for difference in error.differences:
            out.print(f"error: {difference}", soft_wrap=True)
        raise
    return found


def _report(what: str, connection: psycopg.Connection, schema: str | None) -> None:
    found = queries.schema.version(connection)
    say(f"{what}: version {found and found.version}, in {place(connection, schema)}.")
