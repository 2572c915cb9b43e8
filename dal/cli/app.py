"""The commands, and the handling of their errors."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NoReturn

import psycopg
import typer
from typer.core import TyperGroup

from dal.cli import erase, histories, idle, queries, schema, serve, sessions, show
from dal.cli.help import below, improve
from dal.cli.verbosity import set_quiet, set_verbose
from dal.demo.command import demo
from dal.driver_errors import translate
from dal.errors import DalError, SchemaMismatch, SessionNotFound
from dal.gate.cli import check, init, review, signals
from dal.gate.cli.exits import FAILED, NEGATIVE, READER_GONE
from dal.gate.cli.output import out, print_error
from dal.gate.errors import GateError

_ANSWERS = (SchemaMismatch, SessionNotFound)
"""Errors that answer the command's question, with no."""

_EVERYWHERE = {"--quiet", "--verbose"}
"""Options that are accepted both before and after a command's name."""


class _Commands(TyperGroup):
    """Commands that share some options, and whose errors are printed in one line, without a traceback."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        shared = [option for option in self.params if _EVERYWHERE & {*option.opts}]
        improve(self)
        for command in below(self):
            improve(command)
            command.params += shared

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (DalError, GateError) as error:
            _fail(error)
        except psycopg.Error as error:
            _fail(translate(error, ctx.invoked_subcommand or "dal"))
        except signals.Stopped as stopped:
            signals.ignore()
            print_error(stopped)
            raise typer.Exit(stopped.exit_status) from None
        except BrokenPipeError:
            # The reader of stdout has closed it, as `head` does. Discard the rest, also at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(READER_GONE) from None


def _fail(error: Exception) -> NoReturn:
    print_error(error)
    raise typer.Exit(NEGATIVE if isinstance(error, _ANSWERS) else FAILED)


_HELP = """Agent sessions and their messages in PostgreSQL: each operation one explicit SQL statement.

\b
Examples:
  [bold]dal demo[/bold]
      compare it with the usual SQL, on a temporary server
  [bold]dal serve --data data[/bold]
      start a server for development, with the tables
  [bold]dal schema apply --schema agents --dsn postgresql://me@localhost/mine[/bold]
      create the tables in a database of yours
  [bold]dal sessions --user u1[/bold]
      list sessions, with the database in DAL_DSN
  [bold]dal queries messages.append[/bold]
      read the statement that an append sends
"""

app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
    # If the command line itself fails, a bug report needs the plain traceback.
    pretty_exceptions_enable=False,
)
_START = "To start"
_DATABASE = "Your database"
_GATE = "Queries and their promises"

app.command(rich_help_panel=_START)(demo)
app.command(rich_help_panel=_START)(serve.serve)
app.add_typer(schema.app, name="schema", rich_help_panel=_DATABASE)
app.command(rich_help_panel=_DATABASE)(sessions.sessions)
app.command(rich_help_panel=_DATABASE)(show.show)
app.command("delete-idle", rich_help_panel=_DATABASE)(idle.delete_idle)
app.command(rich_help_panel=_DATABASE)(idle.purge)
app.command("erase-user", rich_help_panel=_DATABASE)(erase.erase_user)
app.command(rich_help_panel=_DATABASE)(histories.export)
app.command("import", rich_help_panel=_DATABASE)(histories.import_)
app.command(rich_help_panel=_GATE)(queries.queries)
app.command(rich_help_panel=_GATE)(init.init)
app.command(rich_help_panel=_GATE)(check.check)
app.command(rich_help_panel=_GATE)(review.review)


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
    _quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", callback=set_quiet, expose_value=False, help="Print only results and errors."),
    ] = False,
    _verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            callback=set_verbose,
            expose_value=False,
            help="Also print a line for each operation, with its time.",
        ),
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit."),
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
    except Exception:  # noqa: BLE001 - Python would exit with 1, which means that the answer is no
        traceback.print_exc()
        sys.exit(FAILED)
