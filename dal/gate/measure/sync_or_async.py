"""Write a measuring function once for both kinds of connections.

The function is a coroutine function. A caller with an AsyncConnection awaits it. With a Connection nothing in it waits,
so it runs to its end at once, without an event loop. Generated twins would need two names; this way a test uses the
same name with both kinds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from inspect import isawaitable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

import psycopg

Connection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SyncOrAsync(Protocol, Generic[P, T_co]):
    """A function that returns a value for a Connection, and a coroutine for an AsyncConnection."""

    @overload
    def __call__(self, connection: psycopg.Connection[Any], /, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

    @overload
    def __call__(
        self, connection: psycopg.AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T_co]: ...


def sync_or_async(work: Callable[Concatenate[Connection, P], Coroutine[Any, Any, T]]) -> SyncOrAsync[P, T]:
    """Make a coroutine function callable with both kinds of connections."""

    @wraps(work)
    def call(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        __tracebackhide__ = True  # pytest then shows the test's own line.
        if isinstance(connection, psycopg.AsyncConnection):
            return work(connection, *args, **kwargs)
        if isinstance(connection, psycopg.Connection):
            return _finish(work(connection, *args, **kwargs))
        raise TypeError(f"{work.__name__}() needs a psycopg connection, not {type(connection).__name__}")

    return call


async def resolve(value: object) -> Any:
    """Return a value, after awaiting it if it is awaitable."""
    __tracebackhide__ = True
    return await value if isawaitable(value) else value


@asynccontextmanager
async def enter(context: Any) -> AsyncIterator[Any]:
    """Enter a synchronous or asynchronous context manager."""
    if hasattr(context, "__aenter__"):
        async with context as value:
            yield value
    else:
        with context as value:
            yield value


def _finish(work: Coroutine[Any, Any, T]) -> T:
    __tracebackhide__ = True
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise TypeError("the operation is asynchronous, but the connection is not; pass an AsyncConnection")
