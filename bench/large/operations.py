"""The gate on skewed data: the library's queries, for an average session or user and for the largest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiosql
import psycopg
from gate import fixtures
from psycopg.rows import class_row

from dal.gate.header.promises import Bound, Growth, Promises
from dal.gate.measure import scratch
from dal.gate.measure.gate import Gate
from dal.gate.measure.locking import locks_held
from dal.gate.measure.measurement import STANDARD, STANDARD_SIZE, Measurement
from dal.gate.measure.subjects import Subject, load
from dal.gate.wire import watch
from dal.sql import QUERIES

_statements: Any = aiosql.from_path(Path(__file__).with_name("targets.sql"), "psycopg")

AXIS = "the stored messages"

CAPS = 1.6
"""A call may touch this many times the buffers that its header promises: indexes are up to two levels deeper here, and
long messages are on more pages."""

_SESSION, _USER, _PAIR = ("average", "huge"), ("average", "of heavy"), ("pair", "pair of heavy")

TARGETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            *("messages.after", "messages.annotate", "messages.append", "messages.append_all", "messages.before"),
            "messages.delete_range",
            *("messages.export", "messages.get", "messages.latest", "messages.redact", "messages.remove_from"),
            *("messages.remove_last", "messages.replace_from", "messages.stream"),
            *("sessions.archive", "sessions.fork", "sessions.get", "sessions.open", "sessions.pause"),
            *("sessions.position", "sessions.trash", "sessions.update_metadata"),
        ),
        _SESSION,
    ),
    **dict.fromkeys(("sessions.agent_ids", "sessions.agent_ids_read_only"), (*_SESSION, "archived")),
    **dict.fromkeys(
        (
            *("sessions.count_of_user", "sessions.export_of_user", "sessions.list_of_user"),
            "sessions.list_of_user_and_source",
        ),
        _USER,
    ),
    **dict.fromkeys(("sessions.delete", "sessions.erase_user"), _PAIR),
    **dict.fromkeys(
        ("sessions.delete_idle", "sessions.export", "sessions.list", "sessions.list_of_source"), ("pair of heavy",)
    ),
    "sessions.delete_idle_of_user": _PAIR,
    "messages.removed": ("removed",),
    "sessions.create": ("tombstone",),
    "sessions.list_of_parent": ("child",),
    "sessions.purge": ("tombstone",),
    "sessions.relist": ("average",),
    "sessions.restore": ("trashed",),
    "sessions.resume": ("paused",),
}
"""The sessions or users with which each query is called. A deletion deletes one session of two messages."""

_ELSEWHERE = (
    *("schema.broken_rows", "schema.check", "schema.hide_temporary", "schema.version", "sessions.changes"),
    "sessions.relist",
)
"""Queries that are not measured, since they read the whole store, or nothing that grows with it."""

_HEAVY = {"the user's sessions", "the user's sessions from elsewhere", "the user's sessions of a minute"}
"""In a larger store, the user with the most sessions has more of each of these."""


@dataclass(frozen=True, slots=True)
class Target:
    """A session, and its user."""

    name: str
    session_id: str
    user_id: str | None
    parent_id: str | None
    next_sequence: int
    message_count: int
    message_id: str | None
    """The id of the message in the middle."""


def subjects() -> Iterator[Subject]:
    """Yield each query once for each of its targets, with the promises that apply to that target."""
    for subject in load(QUERIES):
        if subject.name not in _ELSEWHERE:
            for target in TARGETS[subject.name]:
                yield replace(subject, name=f"{subject.name}, {target}", promises=_applicable(subject, target))


def _applicable(subject: Subject, target: str) -> Promises:
    """Return the promises for a target, with their growth along the only axis here: the size of the store."""
    promises = subject.promises
    along = {"the sessions"}
    along |= {"the session's messages"} if target == "huge" else set()
    along |= _HEAVY if target in {"huge", "of heavy", "pair of heavy"} else set()
    bounds: dict[str, Bound] = {}
    for one in promises.bounds:
        known = bounds.get(one.metric)
        if one.axis in along and (known is None or one.growth > known.growth):
            bounds[one.metric] = replace(one, axis=AXIS)
    bounds.setdefault("buffers", Bound("buffers", Growth.LOGARITHMIC, AXIS, promises.line))
    caps = tuple(
        cap for cap in promises.caps if cap.unit != "buffers" or bounds["buffers"].growth <= Growth.LOGARITHMIC
    )
    rows = tuple(replace(one, each=None) for one in promises.rows)
    return replace(promises, bounds=tuple(bounds.values()), caps=caps, held=(), rows=rows)


class SkewedData:
    """Fixtures of the gate, on stores of several sizes that are filled already. It implements Fixtures."""

    def __init__(self, schemas: Mapping[int, str]) -> None:
        self.schemas = schemas
        self.schema = schemas[min(schemas)]
        self._targets: dict[int, dict[str, Target]] = {}
        self._ended: dict[int, datetime] = {}

    def grow(self, connection: psycopg.Connection[Any], axis: str, before: int, size: int) -> None:
        """Switch to the store of this size."""
        self.schema = self.schemas[size]
        connection.execute("SELECT set_config('search_path', %s, false)", [self.schema])
        if size not in self._targets:
            self._ended[size] = _statements.last_activity(connection)
            with connection.cursor(row_factory=class_row(Target)) as cursor:
                chosen = cursor.execute(_statements.choose_targets.sql).fetchall()
            self._targets[size] = {target.name: target for target in chosen}
        ids = {name: target.session_id for name, target in self._targets[size].items()}
        _statements.list_ahead(connection, session_ids=[ids[name] for name in ("huge", "average", "paused")])
        _statements.put_first(connection, session_ids=[ids["pair"]])
        _statements.put_first(connection, session_ids=[ids["pair of heavy"]])
        _statements.pause(connection, session_id=ids["paused"])

    def parameters(self, query: str, axis: str, size: int, turn: int) -> dict[str, Any]:
        """Return the parameters of a call for a target."""
        name, _, target = query.partition(", ")
        usual = fixtures.parameters(name, STANDARD, STANDARD_SIZE, turn)
        return {**usual, **_changed(name, usual, self._targets[size][target], self._ended[size])}


def _changed(name: str, usual: Mapping[str, Any], target: Target, ended: datetime) -> dict[str, Any]:
    """Return the parameters that differ from those of the usual fixtures."""
    end = target.next_sequence - 21
    wanted = {
        "owner": target.user_id,
        "session_id": target.session_id,
        "session_ids": [target.session_id],
        "user_ids": [target.user_id],
        "parent_id": target.parent_id,
        "source": "web",
        "place_before": ended - timedelta(minutes=10),
        "listed_after": ended - timedelta(minutes=50),
        "idle_since": ended - timedelta(minutes=30),
        "sequence": target.next_sequence - 1,
        "first": target.next_sequence - 1,
        "last": target.next_sequence - 1,
    }
    if name.startswith("sessions."):
        wanted |= {"user_id": target.user_id}
    if name in {"messages.get", "messages.annotate", "messages.redact"}:
        wanted |= {"message_id": target.message_id}
    if name in {"messages.after", "messages.stream", "messages.export"}:
        wanted |= {"after": end}
    if name == "messages.before":
        wanted |= {"before": target.next_sequence // 2}
    if "delete_idle" in name or name == "sessions.erase_user":
        wanted |= {"limit": 1}
    if name == "sessions.export":
        wanted |= {"source": None}
    return {key: value for key, value in wanted.items() if key in usual}


class LargeGate(Gate):
    """The gate, on stores that are filled already."""

    def __init__(
        self,
        conninfo: str,
        schemas: Mapping[int, str],
        *,
        begin: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._data = SkewedData(schemas)
        self._conninfo = conninfo
        super().__init__(self._open, "", self._data, sizes=lambda _: tuple(schemas), begin=begin)

    def _open(self) -> psycopg.Connection[Any]:
        options = f"-c search_path={self._data.schema} -c client_min_messages=warning"
        return psycopg.connect(self._conninfo, autocommit=True, options=options)

    @contextmanager
    def _fresh_tables(self) -> Iterator[psycopg.Connection[Any]]:
        with self._connect() as connection:
            connection.prepare_threshold = None
            yield connection

    def _measure_size(self, turns: Any, one: Measurement, axis: str, size: int, *, is_last: bool) -> None:
        super()._measure_size(turns, one, axis, size, is_last=is_last)
        if size == self._sizes_of(axis)[0] and one.failure is None:
            self._measure_locks(turns.connection, one, axis, size)

    def _measure_locks(self, connection: psycopg.Connection[Any], one: Measurement, axis: str, size: int) -> None:
        """Measure the locks. This tries to lock every row of a table, so it is done only in the smallest store."""
        with connection.transaction(force_rollback=True):
            one.subject.run(connection, self._values(one.subject, axis, size))
            one.note_locks(locks_held(connection, self._connect), axis, size)

    def _measure_trips_and_locks(
        self, connection: psycopg.Connection[Any], one: Measurement, axis: str, size: int
    ) -> None:
        """Measure only the round trips; the locks are measured elsewhere."""
        one.tables = scratch.tables(connection)
        with connection.transaction(force_rollback=True), watch(connection) as wire:
            one.subject.run(connection, self._values(one.subject, axis, size))
        one.round_trips = max(one.round_trips, wire.round_trips)


def measure(
    conninfo: str, schemas: Mapping[int, str], *, begin: Callable[[str], None] = lambda _: None
) -> Sequence[Measurement]:
    """Measure the queries in stores of several sizes."""
    for schema in schemas.values():
        with psycopg.connect(conninfo, autocommit=True, options=f"-c search_path={schema}") as connection:
            scratch.create_runner(connection)
            scratch.disable_autovacuum(connection)
    return LargeGate(conninfo, schemas, begin=begin).measure(list(subjects()))
