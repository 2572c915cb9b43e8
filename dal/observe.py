"""Observability: the hook that a store calls after each operation, and its log lines.

The logger `dal` gets a DEBUG line for each operation, and a WARNING for each retry. Log lines have no stored content;
the hook gets it only if the store has hook_parameters=True. dal.otel has a hook for OpenTelemetry's spans.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Protocol
from weakref import WeakSet

import psycopg
from psycopg import BaseConnection

from dal.appends import Append
from dal.retries import Attempts

log = logging.getLogger("dal")


@dataclass(frozen=True, slots=True)
class Operation:
    """A finished operation, successful or not."""

    query: str
    """The query file, such as "messages.append".

    "histories.store" is a transaction of an import. "writer.append" is an append through a writer, from the call to its
    return; the statements of the writer are operations of their own.
    """
    seconds: float
    """From the call to its return, including retries and the wait for a connection."""
    rows: int | None
    """The number of rows that the statement returned; None if it failed."""
    retries: int
    error: BaseException | None
    host: str | None
    """The server of the last attempt; None if there was no connection."""
    port: int | None
    database: str | None
    batch_size: int | None
    """The number of messages in a statement that can append several; None for other statements."""
    waited: float
    """The seconds that it waited for a connection."""
    token: Any = None
    """For an append through a writer: the value that the hook's `queued` returned."""
    tokens: tuple[Any, ...] = ()
    """For the statement of a batch: the tokens of its appends."""
    parameters: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    """The statement's parameters, including content; None unless the store has `hook_parameters=True`."""


Hook = Callable[[Operation], None]
"""Called after each operation, before the call returns, so it must be quick. Its exceptions are logged and ignored.

It runs in the caller's context (contextvars), or in an empty one for a writer's statement, which has many callers. If
it has a method `queued()`, a writer calls that for each append, and keeps the result as the append's `token`.
"""


class Queue(Protocol):
    """A writer's queue of appends."""

    @property
    def length(self) -> int:
        """The number of queued appends."""


class Observer:
    """Reports operations to the hooks and to the log. It is false if nobody would see a report."""

    __slots__ = ("_hooks", "_queued", "_with_parameters", "queues")

    def __init__(self, hook: Hook | None, *, parameters: bool = False) -> None:
        self._hooks: tuple[Hook, ...] = () if hook is None else (hook,)
        self._queued: Callable[[], Any] | None = getattr(hook, "queued", None)
        self._with_parameters = parameters
        self.queues: WeakSet[Queue] = WeakSet()
        """The queues of the store's writers."""

    def __bool__(self) -> bool:
        return self._hooks != () or log.isEnabledFor(logging.DEBUG)

    def add(self, hook: Hook) -> None:
        """Add another hook."""
        self._hooks += (hook,)

    @contextmanager
    def queued(self, append: Append, attempts: Attempts) -> Iterator[None]:
        """Report an append through a writer when it returns, in the context of its caller."""
        if self._queued is not None:
            append.token = attempts.token = _shielded("writer.append", self._queued)
        try:
            yield
        except BaseException as error:
            self.ended("writer.append", {}, attempts, None, error)
            raise
        self.ended("writer.append", {}, attempts, len(append.rows) - append.rows.count(None), None)

    def ended(
        self,
        query: str,
        parameters: Mapping[str, Any],
        attempts: Attempts,
        rows: int | None,
        error: BaseException | None,
    ) -> None:
        """Report a finished operation."""
        seconds, retries = monotonic() - attempts.began, attempts.made - 1
        outcome = f"{rows} row{'' if rows == 1 else 's'}" if error is None else type(error).__name__
        again = f", tried again {retries} times" if retries else ""
        log.debug("%s: %s in %.2f ms%s", query, outcome, seconds * 1000, again)
        if not self._hooks:
            return
        host, port, database = attempts.server
        operation = Operation(
            query=query,
            seconds=seconds,
            rows=rows,
            retries=retries,
            error=error,
            host=host,
            port=port,
            database=database,
            batch_size=_batch_size(parameters),
            waited=attempts.waited,
            token=attempts.token,
            tokens=tuple([append.token for append in attempts.appends]),
            parameters=parameters if self._with_parameters else None,
        )
        for hook in self._hooks:
            # A batch serves many callers: in an empty context, no hook takes it for the operation of one of them.
            _shielded(query, partial(Context().run, hook, operation) if attempts.appends else partial(hook, operation))


def _shielded(query: str, hook: Callable[[], Any]) -> Any:
    """Call a hook, and log its exceptions."""
    try:
        return hook()
    except Exception:
        log.exception("%s has ended, and the store's hook failed", query)
        return None


def tried_again(query: str, error: psycopg.Error, pause: float) -> None:
    """Log a retry."""
    log.warning("%s: %s (%s), tried again in %.2f s", query, type(error).__name__, error.sqlstate or "no code", pause)


def _batch_size(parameters: Mapping[str, Any]) -> int | None:
    places = parameters.get("places")  # An array in text format, with a number for each message.
    return None if places is None else places.count(",") + 1


def server_of(connection: BaseConnection[Any]) -> tuple[str | None, int | None, str | None]:
    """Return the host, the port and the database of a connection."""
    with suppress(psycopg.Error):  # It is closed.
        info = connection.info
        return info.host, info.port, info.dbname
    return None, None, None
