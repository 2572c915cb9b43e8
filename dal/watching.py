"""Watching: what a store tells of each operation, to a hook of the caller's and to the log.

The logger is `dal`: at the level DEBUG a line for each operation, at WARNING one for each that is tried again.
Neither has anything of what is stored, unless the hook asks for parameters. dal.otel is a hook that makes
OpenTelemetry's spans.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import psycopg
from psycopg import BaseConnection

from dal.retries import Attempts

log = logging.getLogger("dal")


@dataclass(frozen=True, slots=True)
class Ran:
    """An operation that has ended, well or not."""

    query: str
    """The query file, such as "messages.append"."""
    seconds: float
    """From the call to its end: waiting for a connection and trying again are in it."""
    rows: int | None
    """How many rows the statement gave; None if it failed."""
    retries: int
    error: BaseException | None
    host: str | None
    """Of the server that answered, or was asked last; None if none was."""
    port: int | None
    database: str | None
    batch_size: int | None
    """How many messages the statement was sent with; None if it is not one that appends many."""
    parameters: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    """What the statement was sent with, contents too; None unless the store has hook_parameters=True."""


Hook = Callable[[Ran], None]
"""Called after each operation, before its caller goes on: be quick. What it raises is logged, and harms nothing."""


class Watch:
    """Tells a hook and the log."""

    __slots__ = ("_hook", "_with_parameters")

    def __init__(self, hook: Hook | None, *, parameters: bool = False) -> None:
        self._hook = hook
        self._with_parameters = parameters

    def __bool__(self) -> bool:
        return self._hook is not None or log.isEnabledFor(logging.DEBUG)

    def ended(
        self,
        query: str,
        parameters: Mapping[str, Any],
        attempts: Attempts,
        rows: int | None,
        error: BaseException | None,
    ) -> None:
        """Tell that an operation has ended."""
        seconds, retries = monotonic() - attempts.began, attempts.made - 1
        said = f"{rows} row{'' if rows == 1 else 's'}" if error is None else type(error).__name__
        again = f", tried again {retries} times" if retries else ""
        log.debug("%s: %s in %.2f ms%s", query, said, seconds * 1000, again)
        if self._hook is None:
            return
        where = _where(attempts.connection)
        given = parameters if self._with_parameters else None
        try:
            self._hook(Ran(query, seconds, rows, retries, error, *where, _batch_size(parameters), given))
        except Exception:
            log.exception("%s has ended, and the store's hook failed", query)


def tried_again(query: str, error: psycopg.Error, pause: float) -> None:
    """Tell that an operation is tried again."""
    log.warning("%s: %s (%s), tried again in %.2f s", query, type(error).__name__, error.sqlstate or "no code", pause)


def _batch_size(parameters: Mapping[str, Any]) -> int | None:
    places = parameters.get("places")  # The text of an array, with one number for each message.
    return None if places is None else places.count(",") + 1


def _where(connection: BaseConnection[Any] | None) -> tuple[str | None, int | None, str | None]:
    if connection is not None:
        with suppress(psycopg.Error):  # It was closed.
            info = connection.info
            return info.host, info.port, info.dbname
    return None, None, None
