"""When an operation is tried again: the one place where that is decided.

| what happened | SQLSTATE | the statement | tried again |
|---|---|---|---|
| a deadlock, or a serialization failure | 40P01, 40001 | was rolled back | always |
| the server only reads, as after a failover | 25006 | was refused | always, on a new connection |
| the server starts, or has no connection left | 57P03, 53300 | was never sent | always |
| the server has ended a connection that idled (idle_session_timeout) | 57P05 | was never run | always |
| someone else was storing the same message | 23505 of its key | was rolled back | always: it finds the message now |
| the server shuts down or has crashed | 57P01, 57P02 | may have been committed | if `Repeat: safe` |
| the connection was lost, or its server | 08…, none | may have been committed | if `Repeat: safe` |
| anything else | | was refused | never: it would be refused again |

`Repeat: safe`, with the reason, stands in the query's file. Only where the store takes the connections itself,
from its own pool or the caller's: a transaction of the caller's is the caller's to repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from random import uniform
from time import monotonic
from typing import Any

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from dal.appends import Append
from dal.errors import is_sent_twice

RETRIES = 10
"""How often an operation is tried again, unless its deadline comes first."""

_FIRST, _LONGEST = 0.02, 1.0
"""Seconds of the longest first pause, and of the longest one; each is twice the one before."""


class After(Enum):
    """What is known of a statement that failed."""

    REFUSED = "it would be refused again"
    UNDONE = "nothing was done, and trying again may help"
    STALE = "nothing was done, and another connection may help"
    UNKNOWN = "it may have been committed"


_BY_STATE = {
    "25006": After.STALE,
    "40001": After.UNDONE,
    "40P01": After.UNDONE,
    "53300": After.UNDONE,
    "57P01": After.UNKNOWN,
    "57P02": After.UNKNOWN,
    "57P03": After.UNDONE,
    "57P05": After.UNDONE,
}

_CLASS_LOST = "08"
"""The SQLSTATEs of a connection that was lost."""


def after(error: psycopg.Error) -> After:
    """What this error tells of the statement."""
    state = error.sqlstate
    if isinstance(error, PoolTimeout | PoolClosed | TooManyRequests):
        return After.REFUSED
    if is_sent_twice(error):
        return After.UNDONE
    if state is None:
        return After.UNKNOWN if isinstance(error, psycopg.OperationalError) else After.REFUSED
    return After.UNKNOWN if state.startswith(_CLASS_LOST) else _BY_STATE.get(state, After.REFUSED)


class Attempts:
    """The attempts of one call: how many were made, and when they must end."""

    __slots__ = (
        "_retries",
        "appends",
        "began",
        "deadline",
        "is_back",
        "made",
        "sent",
        "server",
        "source",
        "token",
        "unknown",
        "waited",
    )

    def __init__(
        self,
        retries: int,
        timeout: float | None,
        deadline: float | None = None,
        *,
        unknown: bool = False,
        source: Any = None,
    ) -> None:
        self.began = monotonic()
        self.deadline = self.began + timeout if timeout is not None and deadline is None else deadline
        self.made = 1
        self.server: tuple[str | None, int | None, str | None] = None, None, None
        """Host, port and database of the last one, if the hook is to know."""
        self.is_back = False
        """Whether the last one's connection was given back."""
        self.sent = False
        """Whether the last one came so far as to send the statement."""
        self.unknown = unknown
        """Whether one of them may have been committed."""
        self.source = source
        """Where their connections come from, if not where the runner's do."""
        self.appends: Sequence[Append] = ()
        """The appends of a writer that they are for."""
        self.token: Any = None
        """What the hook knows the call by."""
        self.waited = 0.0
        """Seconds that they waited for a connection."""
        self._retries = retries

    def pause(self) -> float | None:
        """Seconds to wait before the next attempt, or None if this was the last.

        Drawn from an interval that doubles each time, so that many who failed together do not come back together.
        """
        if self.made > self._retries:
            return None
        seconds = uniform(0, min(_LONGEST, _FIRST * 2 ** (self.made - 1)))  # noqa: S311 - it guards nothing
        if self.deadline is not None and monotonic() + seconds >= self.deadline:
            return None
        self.made += 1
        return seconds
