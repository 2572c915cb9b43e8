"""The one place that decides whether an operation is tried again.

| failure | SQLSTATE | the statement | tried again |
|---|---|---|---|
| a deadlock or a serialization failure | 40P01, 40001 | was rolled back | always |
| the server is read-only, as after a failover | 25006 | was refused | always, on a new connection |
| the server is starting, or has no free connection | 57P03, 53300 | was never sent | always |
| the server ended an idle connection (idle_session_timeout) | 57P05 | never ran | always |
| another connection was storing the same message | 23505 of its key | was rolled back | always: it finds the message |
| a column's type has changed since the statement was prepared | 0A000 | never ran | always: it is prepared again |
| an index was dropped during the schema check | XX000 | was refused | always |
| the server shut down or crashed | 57P01, 57P02 | may have been committed | if `Repeat: safe` |
| the connection or its server was lost | 08…, none | may have been committed | if `Repeat: safe` |
| a cluster lost a node | 08…, XX000 and 58030 with Citus's words | may have been committed | if `Repeat: safe` |
| anything else | | was refused | never: it would be refused again |

A query file says `Repeat: safe`, with the reason. The store's own pool allows all of these retries. A caller's pool
allows all but the one for a read-only server, since the store cannot replace its connections. A caller's connection
allows only those that need no new connection, and none within a transaction: the caller must repeat the transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import uniform
from time import monotonic
from typing import Any

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from dal.appends import Append
from dal.driver_errors import is_dropped, is_node_lost, is_outdated, is_sent_twice

RETRIES = 10
"""The default number of retries, within the deadline."""

_FIRST, _LONGEST = 0.02, 1.0
"""The limits of a pause in seconds: of the first one, and of any. The limit doubles with each retry."""


class Failure(Enum):
    """What an error says about the statement."""

    REFUSED = "it would be refused again"
    UNDONE = "nothing was done, and trying again may help"
    STALE = "nothing was done, and another connection may help"
    UNKNOWN = "it may have been committed"


_BY_STATE = {
    "25006": Failure.STALE,
    "40001": Failure.UNDONE,
    "40P01": Failure.UNDONE,
    "53300": Failure.UNDONE,
    "57P01": Failure.UNKNOWN,
    "57P02": Failure.UNKNOWN,
    "57P03": Failure.UNDONE,
    "57P05": Failure.UNDONE,
}

_CLASS_LOST = "08"
"""The class of the SQLSTATEs of a lost connection."""


def classify(error: psycopg.Error) -> Failure:
    """Return what the error says about the statement."""
    state = error.sqlstate
    if isinstance(error, PoolTimeout | PoolClosed | TooManyRequests):
        return Failure.REFUSED
    if is_sent_twice(error) or is_outdated(error) or is_dropped(error):
        return Failure.UNDONE
    if state is None:
        return Failure.UNKNOWN if isinstance(error, psycopg.OperationalError) else Failure.REFUSED
    is_lost = state.startswith(_CLASS_LOST) or is_node_lost(error)
    return Failure.UNKNOWN if is_lost else _BY_STATE.get(state, Failure.REFUSED)


@dataclass(eq=False)
class Attempts:
    """The attempts of one call: their number and their deadline.

    Every call creates one. Without slots, the fields with `init=False` cost nothing: their defaults are in the class.
    """

    retries: int
    """The most attempts after the first one."""
    deadline: float | None = None
    unknown: bool = field(default=False, init=False)
    """True if an attempt may have been committed."""
    source: Any = field(default=None, init=False)
    """A source of connections to use instead of the runner's."""
    began: float = field(default=0.0, init=False)
    """When the call began; 0 if no observer wants to know."""
    made: int = field(default=1, init=False)
    is_observed: bool = field(default=False, init=False)
    """True if an observer reads `server` and `waited`. Finding them takes time (bench/test_overhead.py)."""
    server: tuple[str | None, int | None, str | None] = field(default=(None, None, None), init=False)
    """Host, port and database of the last attempt, for the hook."""
    appends: Sequence[Append] = field(default=(), init=False)
    """The appends of a writer that the statement stores."""
    token: Any = field(default=None, init=False)
    """The hook's token of the call."""
    waited: float = field(default=0.0, init=False)
    """Seconds spent waiting for a connection."""

    def pause(self) -> float | None:
        """Return the seconds to wait before the next attempt; None if there is none.

        The pause is random, so that callers that failed at the same time do not all return at the same time.
        """
        if self.made > self.retries:
            return None
        seconds = uniform(0, min(_LONGEST, _FIRST * 2 ** (self.made - 1)))  # noqa: S311 - it guards nothing
        if self.deadline is not None and monotonic() + seconds >= self.deadline:
            return None
        self.made += 1
        return seconds
