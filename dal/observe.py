"""Watching: what a store tells of each operation, to a hook of the caller's and to the log.

The logger is `dal`: at the level DEBUG a line for each operation, at WARNING one for each that is tried again.
Neither has anything of what is stored, unless the hook asks for parameters. dal.otel is a hook that makes
OpenTelemetry's spans.
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
class Ran:
    """An operation that has ended, well or not."""

    query: str
    """The query file, such as "messages.append".

    "histories.store" is a transaction of an import. "writer.append" is an append through a writer, from the call to its
    end; the writer's statements are operations of their own.
    """
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
    waited: float
    """Seconds of those that it waited for a connection."""
    token: Any = None
    """Of an append through a writer: what the hook's `queued` returned."""
    tokens: tuple[Any, ...] = ()
    """Of a writer's statement: the tokens of the appends that it was sent for."""
    parameters: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    """What the statement was sent with, contents too; None unless the store has hook_parameters=True."""


Hook = Callable[[Ran], None]
"""Called after each operation, before its caller goes on: be quick. What it raises is logged, and harms nothing.

It runs in the context (contextvars) of the caller whose operation it was; for a writer's statement, which is sent for
many callers, in an empty one. If it has a method `queued()`, a writer calls that for each append that it is given, and
what it returns is the `token` of that append.
"""


class Queue(Protocol):
    """Where appends wait for a writer."""

    @property
    def length(self) -> int:
        """How many appends wait to be sent."""


class Watch:
    """Tells hooks and the log."""

    __slots__ = ("_hook", "_recorders", "_with_parameters", "queues")

    def __init__(self, hook: Hook | None, *, parameters: bool = False) -> None:
        self._hook = hook
        self._with_parameters = parameters
        self._recorders: tuple[Hook, ...] = ()
        self.queues: WeakSet[Queue] = WeakSet()
        """Those of the store's writers."""

    def __bool__(self) -> bool:
        return self._hook is not None or bool(self._recorders) or log.isEnabledFor(logging.DEBUG)

    def add(self, recorder: Hook) -> None:
        """Call this after each operation too."""
        self._recorders += (recorder,)

    @contextmanager
    def queued(self, append: Append, attempts: Attempts) -> Iterator[None]:
        """Observe an append that a writer is given, from the call to its end, in its caller's context."""
        queued = getattr(self._hook, "queued", None)
        if queued is not None:
            append.token = attempts.token = _shielded("writer.append", queued)
        try:
            yield
        except BaseException as error:
            self.ended("writer.append", {}, attempts, None, error)
            raise
        self.ended("writer.append", {}, attempts, len(append.rows), None)

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
        if self._hook is None and not self._recorders:
            return
        host, port, database = attempts.server
        ran = Ran(
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
        hooks = self._recorders if self._hook is None else (self._hook, *self._recorders)
        for hook in hooks:
            # A writer's batch is sent by one of its callers, and the hook must not take it for that one's.
            _shielded(query, partial(Context().run, hook, ran) if attempts.appends else partial(hook, ran))


def _shielded(query: str, hook: Callable[[], Any]) -> Any:
    """Call a hook, and log what it raises."""
    try:
        return hook()
    except Exception:
        log.exception("%s has ended, and the store's hook failed", query)
        return None


def tried_again(query: str, error: psycopg.Error, pause: float) -> None:
    """Tell that an operation is tried again."""
    log.warning("%s: %s (%s), tried again in %.2f s", query, type(error).__name__, error.sqlstate or "no code", pause)


def _batch_size(parameters: Mapping[str, Any]) -> int | None:
    places = parameters.get("places")  # The text of an array, with one number for each message.
    return None if places is None else places.count(",") + 1


def server_of(connection: BaseConnection[Any]) -> tuple[str | None, int | None, str | None]:
    """Return the host, the port and the database of a connection."""
    with suppress(psycopg.Error):  # It was closed.
        info = connection.info
        return info.host, info.port, info.dbname
    return None, None, None
