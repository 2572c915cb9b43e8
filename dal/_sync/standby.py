# Generated from dal/_async/standby.py by .ci/async_to_sync.py: change that file, and run it.
"""Reads from a standby, or from the primary if the standby does not answer, or is not as new as a read requires."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from logging import DEBUG, WARNING
from time import monotonic, sleep
from typing import Any

from psycopg import Connection

from dal import validate
from dal._sync.pool import OwnPool
from dal._sync.queries import Query, Spare, queries
from dal._sync.runner import Runner
from dal.conninfo import PoolSettings
from dal.errors import DalError, InvalidInput, SchemaMismatch, ServerUnavailable
from dal.observe import Observer, log
from dal.own_writes import OwnWrites
from dal.retries import Attempts
from dal.rows import Position
from dal.schema.check import SchemaCheck
from dal.sql.loader import Parameters, Statement

_POSITION: Query = queries.sessions.position

_REST = 1.0
"""Seconds in which reads do not try a standby that did not answer; then one tries it, and the others follow."""

_FIRST, _LONGEST = 0.002, 0.05
"""The pauses in seconds before a standby that is behind is asked again. Each is twice the one before."""


class _Behind(Exception):
    """The standby does not have a session's position yet."""


class StandbyPool(OwnPool):
    """A pool whose callers do not wait long, since they can use the primary instead."""

    def __init__(self, settings: PoolSettings, schema: SchemaCheck, wait: float) -> None:
        super().__init__(settings, schema, reconnect_timeout=wait)
        self._wait = wait

    def take(self, deadline: float | None) -> Connection[Any]:
        """Take a connection out of the pool."""
        latest = monotonic() + self._wait
        return super().take(latest if deadline is None else min(deadline, latest))


class PositionedRead(Query):
    """A read of a session that returns the session's position, too, in the same round trip.

    The position is read first, with a snapshot of its own, so the rows are at least as new.
    """

    __slots__ = ("_session_id",)

    def __init__(self, query: Query, session_id: str) -> None:
        for name in Statement.__slots__:
            setattr(self, name, getattr(query, name))
        self._session_id = session_id

    @property
    def distributed(self) -> Query:
        """The same for the second form of the query."""
        other = super().distributed
        return self if other is self else PositionedRead(other, self._session_id)

    def send(
        self,
        connection: Connection[Any],
        parameters: Parameters,
        spare: Spare | None = None,  # noqa: ARG002 - cursors of a pipeline cannot be used again
    ) -> tuple[Position | None, Any]:
        """Return the position, None if the session is not stored, and the rows as the query does."""
        position, rows = _POSITION.cursor(connection), self.cursor(connection)
        of_session = {"session_id": self._session_id, "owner": self.named(parameters).get("owner")}
        with connection.pipeline():
            position.execute(_POSITION.sql, _POSITION.bind(of_session))
            rows.execute(self.sql, self.bind(parameters))
        return _POSITION.fetch(position), self.fetch(rows)


class Standby:
    """The standby of a store, and the primary to use in its place. A read takes all its rows from one of them.

    A read of a session takes the standby's rows only if these have everything that its session object has written. If
    the position of such a write is not known, the next read comes from the primary, and learns it there.
    """

    def __init__(self, standby: Runner, primary: Runner, wait: float) -> None:
        self.runner = standby
        self._primary = primary
        self._wait = wait
        self._rests_until = 0.0
        self._answered = 0.0
        """When a read was last answered."""

    def read(self, query: Query, parameters: dict[str, Any], writes: OwnWrites | None = None) -> Any:
        """Run a query that only reads; the rows show these writes."""
        return self._primary.send(query, parameters, run=partial(self._read, writes))

    def close(self) -> None:
        """Refuse further calls, and close the pools of both servers."""
        try:
            self.runner.close()
        finally:
            self._primary.close()

    def _read(self, writes: OwnWrites | None, query: Query, parameters: Parameters, attempts: Attempts) -> Any:
        if writes is not None and writes.unknown:
            return self._learn(writes, query, parameters, attempts)
        if not self._is_resting():
            began = monotonic()
            try:
                rows = self._from_standby(writes, query, parameters, attempts)
            except _Behind:
                log.debug("%s: the standby is behind, read from the primary", query.name)
            except DalError as error:
                self._failed(error, query, began)
            else:
                self._succeeded()
                return rows
        return self._primary.run_with_retries(query, parameters, attempts)

    def _from_standby(self, writes: OwnWrites | None, query: Query, parameters: Parameters, attempts: Attempts) -> Any:
        """Read from the standby; if it is behind, read again until it is not, or raise _Behind."""
        began = monotonic()
        deadline = None if attempts.deadline is None else (began + attempts.deadline) / 2  # The rest is the primary's.
        asked = Attempts(0, deadline)
        asked.is_observed = attempts.is_observed
        try:
            if writes is None or writes.is_empty:
                return self.runner.run_with_retries(query, parameters, asked)
            positioned, least, pause = PositionedRead(query, writes.session_id), writes.least, _FIRST
            while True:
                position, rows = self.runner.run_with_retries(positioned, parameters, asked)
                if position is not None and position.covers(least):
                    return rows
                if monotonic() + pause > began + self._wait:
                    raise _Behind
                sleep(pause)
                pause = min(2 * pause, _LONGEST)
        finally:
            attempts.server, attempts.waited = asked.server, asked.waited

    def _learn(self, writes: OwnWrites, query: Query, parameters: Parameters, attempts: Attempts) -> Any:
        """Read from the primary, and note the session's position there."""
        unknown = writes.unknown
        position, rows = self._primary.run_with_retries(PositionedRead(query, writes.session_id), parameters, attempts)
        if position is not None:
            writes.learn(position, unknown)
        return rows

    def _is_resting(self) -> bool:
        """Return whether to leave the standby alone; one caller is let through when it has rested."""
        if not self._rests_until:
            return False
        if monotonic() < self._rests_until:
            return True
        self._rests_until = monotonic() + _REST
        return False

    def _succeeded(self) -> None:
        self._answered = monotonic()
        if self._rests_until:
            self._rests_until = 0.0
            log.info("the standby answers again")

    def _failed(self, error: DalError, query: Query, began: float) -> None:
        """Log the failure. Let the standby rest if it did not answer this read, or any other since `began`."""
        level = DEBUG if self._rests_until else WARNING
        log.log(level, "%s: read from the primary, since the standby failed: %s", query.name, error)
        if isinstance(error, ServerUnavailable | SchemaMismatch) and self._answered < began:
            self._rests_until = monotonic() + _REST


def connect_standby(conninfo: str, settings: PoolSettings, primary: Runner, wait: float) -> Standby:
    """Return a standby with a pool of its own, whose settings are those of the primary's."""
    schema_check, checked = SchemaCheck(), validate.seconds("standby_wait", wait)
    if checked is None:
        raise InvalidInput("standby_wait", "must be a number of seconds above 0")
    try:
        pool = StandbyPool(replace(settings, conninfo=conninfo), schema_check, checked)
    except InvalidInput as error:
        raise InvalidInput("standby", error.reason) from None
    # It is asked once, and `Standby` reports its operations.
    runner = Runner(pool, schema_check, 0, settings.timeout, Observer(None))
    return Standby(runner, primary, checked)
