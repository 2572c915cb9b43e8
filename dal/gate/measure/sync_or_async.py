"""Functions that measure over either kind of connection, written once.

Each is a coroutine function. Over an AsyncConnection it is awaited as it is. Over a Connection nothing in it
ever has to wait, so that it can be run to its end at once, without an event loop. It is so, and not generated
like dal/_sync, because what is measured is the caller's: one name in a test, whichever kind its service uses.
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


class Either(Protocol, Generic[P, T_co]):
    """Takes a Connection and returns, or takes an AsyncConnection and is awaited."""

    @overload
    def __call__(self, connection: psycopg.Connection[Any], /, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

    @overload
    def __call__(
        self, connection: psycopg.AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T_co]: ...


def either(work: Callable[Concatenate[Connection, P], Coroutine[Any, Any, T]]) -> Either[P, T]:
    """Make of a coroutine function one that is called with either kind of connection."""

    @wraps(work)
    def call(connection: Connection, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        __tracebackhide__ = True  # pytest shows the test's own line instead.
        if isinstance(connection, psycopg.AsyncConnection):
            return work(connection, *args, **kwargs)
        if isinstance(connection, psycopg.Connection):
            return _finish(work(connection, *args, **kwargs))
        raise TypeError(f"{work.__name__}() needs a psycopg connection, not {type(connection).__name__}")

    return call


async def settled(value: object) -> Any:
    """What came of a call: waits for it if it must be waited for."""
    __tracebackhide__ = True
    return await value if isawaitable(value) else value


@asynccontextmanager
async def entered(context: Any) -> AsyncIterator[Any]:
    """Enter a context manager of either kind."""
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
    raise TypeError("what is measured waits for an event loop, and the connection does not: give an AsyncConnection")
