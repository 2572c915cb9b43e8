"""The commands, and the handling of their errors."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import psycopg
import typer
from typer.core import TyperGroup

from dal.cli import histories, queries, schema
from dal.demo.command import demo
from dal.errors import DalError, translate
from dal.gate.cli import check, init, review, signals
from dal.gate.cli.output import err, out, print_error
from dal.gate.errors import GateError


class _Commands(TyperGroup):
    """Commands whose errors are printed in one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (DalError, GateError) as error:
            print_error(error)
        except psycopg.Error as error:
            print_error(translate(error, ctx.invoked_subcommand or "dal"))
        except signals.Stopped as stopped:
            signals.ignore()
            err.print(f"dal: {stopped}")
            raise typer.Exit(stopped.exit_status) from None
        except BrokenPipeError:
            # The reader of stdout has closed it, as `head` does. Discard the rest, also at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1)


_HELP = """Agent sessions and their messages in PostgreSQL: each operation one explicit SQL statement.

\b
Examples:
  [bold]dal demo[/bold]
      compare it with the usual SQL, on a temporary server
  [bold]dal schema apply --schema agents --dsn postgresql://me@localhost/mine[/bold]
      create the tables
  [bold]dal queries messages.append[/bold]
      read the statement that an append sends
"""

app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    # If the command line itself fails, a bug report needs the plain traceback.
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(queries.queries)
app.command()(init.init)
app.command()(check.check)
app.command()(review.review)
app.command()(histories.export)
app.command("import")(histories.import_)
app.add_typer(schema.app, name="schema")


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer's callback
    if not asked:
        return
    try:
        out.print(f"session-dal {version('session-dal')}")
    except PackageNotFoundError:
        out.print("session-dal, from a checkout that is not installed")
    raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command; the help is the app's own."""


def run() -> None:
    """Run the command line."""
    # The user does not need psycopg's log lines about an interrupt.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    signals.install_handlers()
    try:
        app(prog_name="dal")
    except signals.Stopped as stopped:  # Before or after a command.
        sys.exit(stopped.exit_status)
