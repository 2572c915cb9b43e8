"""`dal serve`: the embedded server, for development."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from dal._sync.store import SessionStore
from dal.cli.connection import connected
from dal.cli.options import Schema
from dal.errors import ServerUnavailable
from dal.gate.cli.output import err, out
from dal.gate.cli.servers import started
from dal.gate.cli.signals import Stopped
from dal.gate.server import Server, embedded


def serve(
    *,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", file_okay=False, help="Keep the data in this folder.")
    ] = None,
    schema: Schema = None,
) -> None:
    """Start a PostgreSQL server for development, create the tables, and print its connection string.

    It runs until Ctrl-C. It needs no password, and accepts only connections from this machine, over a Unix socket.
    Without --data, everything is deleted at the end.

    Examples: [bold]dal serve[/bold], [bold]dal serve --data data --schema agents[/bold]
    """
    with started(embedded(data=data and data / "session-dal")) as server:
        with connected(server.conninfo, schema) as connection:
            SessionStore(connection).apply_schema()
            _introduce(server, data)
            _wait(connection)
        err.print("Stopping …")


def _introduce(server: Server, data: Path | None) -> None:
    """Print the connection string to stdout, and how to use it to stderr."""
    out.print(server.conninfo, soft_wrap=True)
    err.print(f"In another terminal: export DAL_DSN={shlex.quote(server.conninfo)}", soft_wrap=True)
    err.print(f"The data stays in {data}." if data else "The data is deleted at the end; --data FOLDER keeps it.")
    err.print("Press Ctrl-C to stop.")


def _wait(connection: psycopg.Connection) -> None:
    """Wait for a signal, which ends the command, or for the end of the server, which is an error."""
    try:
        for _ in connection.notifies():
            pass
    except Stopped:
        pass
    except psycopg.OperationalError as error:
        raise ServerUnavailable("the server has ended") from error
