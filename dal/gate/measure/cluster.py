"""Measure the queries on a Citus cluster: round trips, and the commands that the coordinator sends to other nodes.

Citus reports each remote command as a notice: every statement, BEGIN, COMMIT and PREPARE TRANSACTION. Commands that a
worker sends to other workers are not reported. Each call commits, as in a service, since Citus runs no function on a
worker within a transaction. Buffers, WAL, rows, locks and plans are measured only on one server: here they would be
those of the coordinator, whose tables are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from dal.gate.errors import InvalidInput, SchemaRefused, ServerLost
from dal.gate.measure import scratch
from dal.gate.measure.fixtures import FixtureCalls
from dal.gate.measure.measurement import Measurement
from dal.gate.measure.prepared import bound
from dal.gate.measure.sql import statements
from dal.gate.measure.subjects import Fixtures, Subject
from dal.gate.wire import watch

SHARDS = (4, 12)
"""The numbers of shards to measure with. A promise of O(shards) needs two."""

_CALLS = 12
"""The number of calls of each query. psycopg prepares a statement when it sends it for the sixth time. After five more
calls, the server may choose a generic plan, with which Citus cannot always run a function on a worker."""

_COMMAND = "issuing "
"""The first word of the notice about a remote command."""


@dataclass(slots=True)
class _Tables:
    """The tables that the fixtures fill."""

    names: Sequence[str]
    axis: str | None = None
    """The axis along which they were filled; None if a call may have changed the data since."""


class ClusterGate:
    """Measures queries on a cluster. Like Gate, it needs a search_path with the scratch schema only."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        schema: str,
        fixtures: Fixtures,
        *,
        begin: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare to measure in a scratch schema. `schema` is the SQL that creates and distributes the tables."""
        self._connect = connect
        self._schema = schema
        self._fixtures = FixtureCalls(fixtures)
        self._begin = begin
        self._turn = count()

    def steps(self, subjects: Sequence[Subject]) -> int:
        """Return how often `measure` will call `begin`."""
        return len(SHARDS) * (1 + sum(len(Measurement(subject).remote_axes) for subject in subjects))

    def measure(self, subjects: Sequence[Subject]) -> list[Measurement]:
        """Measure the round trips and remote commands of these queries."""
        self._check()
        measured = [Measurement(subject, is_on_cluster=True) for subject in subjects]
        for shards in SHARDS:
            self._begin(f"{shards} shards")
            tables = self._create_tables(shards)
            for one in measured:
                for axis in one.remote_axes:
                    self._begin(f"{shards} shards: {axis}, {one.subject.name}")
                    self._measure(one, axis, shards, tables)
        return measured

    def _check(self) -> None:
        """Raise InvalidInput unless the server is a coordinator whose tables are all on other nodes."""
        with self._connect() as connection:
            if not statements.has_citus(connection)[0]:
                raise InvalidInput(
                    "--distributed", "this server has no Citus; give the coordinator of a cluster as --dsn"
                )
            own, others = statements.own_and_other_nodes(connection)
            if own or not others:
                raise InvalidInput(
                    "--distributed", "needs a coordinator that has no shards itself, and at least one worker"
                )

    def _create_tables(self, shards: int) -> _Tables:
        """Drop the schema, and create it again with this number of shards."""
        with self._connect() as connection:
            scratch.drop(connection)
            scratch.create(connection)
            statements.set_shard_count(connection, shards=shards)
            try:
                with connection.transaction():
                    connection.execute(self._schema.encode(), prepare=False)
            except psycopg.Error as error:
                raise SchemaRefused(error.diag.message_primary or str(error)) from error
            return _Tables(scratch.empty_tables(connection))

    def _measure(self, one: Measurement, axis: str, shards: int, tables: _Tables) -> None:
        size = one.remote_sizes[axis]
        if one.failure is not None:
            return
        if tables.axis != axis:
            with self._connect() as connection:
                scratch.truncate(connection, tables.names)
                self._fixtures.grow(connection, axis, 0, size, [one.subject])
        tables.axis = axis if one.only_reads else None
        # Use a new connection: an error, or a call in a transaction, changes how Citus plans later calls on it.
        with self._connect() as connection, _recording_failure(connection, one):
            values = partial(self._fixtures.parameters, one.subject, axis, size)
            remote = self._calls(connection, one, axis, values)
            one.remote.setdefault(shards, {})[axis] = remote

    def _calls(
        self, connection: psycopg.Connection[Any], one: Measurement, axis: str, values: Callable[[int], Any]
    ) -> int:
        """Return the highest number of remote commands in several calls, and record the rows of the first one."""
        commands = _Commands(connection)
        with watch(connection) as wire:
            rows, number = commands.of(one.subject, values(next(self._turn)))
        one.round_trips = max(one.round_trips, wire.round_trips)
        matched = one.activity_along(axis).matched
        matched[one.remote_sizes[axis]] = min(rows, matched.get(one.remote_sizes[axis], rows))
        return max(number, *(commands.of(one.subject, values(next(self._turn)))[1] for _ in range(_CALLS - 1)))


class _Commands:
    """Counts the remote commands of calls on a connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._number = 0
        statements.log_remote_commands(connection)
        connection.add_notice_handler(self._receive)

    def _receive(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self._number += (diagnostic.message_primary or "").startswith(_COMMAND)

    def of(self, subject: Subject, values: Any) -> tuple[int, int]:
        """Send the statement, and return its number of rows and its number of remote commands."""
        before = self._number
        with self._connection.cursor(row_factory=tuple_row) as cursor:
            cursor.execute(subject.text.encode(), bound(values))
            return max(cursor.rowcount, 0), self._number - before


@contextmanager
def _recording_failure(connection: psycopg.Connection[Any], one: Measurement) -> Iterator[None]:
    """Record the error of a query that fails, so that the others are still measured."""
    try:
        yield
    except psycopg.Error as error:
        if connection.closed:
            raise ServerLost(f"{one.subject}: the connection was lost: {error}") from error
        one.failure = error.diag.message_primary or str(error)
