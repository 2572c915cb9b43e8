"""Check that this release can use the tables that a connection leads to."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any
from weakref import ref

from psycopg import BaseConnection

from dal.driver_errors import APPLY
from dal.errors import SchemaMismatch
from dal.rows import SchemaFact
from dal.schema import drift
from dal.schema.distributed.hashing import hash_text

log = logging.getLogger("dal")

VERSION = 8
"""The version of schema.sql that the query files are written for."""

_OLDEST_SERVER = 150_000
"""PostgreSQL 15, as in server_version_num."""

_QUERY = "schema.check"

_OTHER_LAYOUT = {
    True: "the tables here are distributed, and this store began with tables that are not; make a new store",
    False: "the tables here are not distributed, and this store began with tables that are; make a new store",
}
"""The error of a store whose tables have been distributed since, or that was given connections to both kinds."""

_MOST = 3
"""Errors that a message lists."""


class SchemaCheck:
    """Remembers which connections were checked. A store shares it with the stores made from it.

    A caller's connections are checked one by one: by its search_path or a temporary table, each may lead to other
    tables. Connections of a store's own pool are alike, so after the first check `trust` marks the others as checked.
    """

    __slots__ = ("_checked", "distributed", "ranges")

    def __init__(self) -> None:
        self._checked: set[ref[BaseConnection[Any]]] = set()
        self.distributed = False
        """True if the tables are distributed over a cluster: then the queries have another form."""
        self.ranges: Sequence[int] | None = None
        """The lowest hash in each shard; None if the tables are not distributed, or that is not known yet."""

    @property
    def passed(self) -> bool:
        """True if any connection was checked."""
        return bool(self._checked)

    def is_due(self, connection: BaseConnection[Any]) -> bool:
        """Return whether this connection is not checked yet."""
        return ref(connection) not in self._checked

    def forget(self) -> None:
        """Mark all connections as not checked, since the tables may have changed."""
        self._checked.clear()

    def trust(self, connection: BaseConnection[Any]) -> None:
        """Mark a connection as checked."""
        self._checked.add(ref(connection, self._checked.discard))

    def shard_of(self, session_id: str) -> int | None:
        """Return which shard a session is in, counted from 0; None if the tables are not distributed."""
        return None if self.ranges is None else bisect_right(self.ranges, hash_text(session_id)) - 1

    def compare(self, found: Sequence[SchemaFact], connection: BaseConnection[Any]) -> None:
        """Mark a connection as checked; raise SchemaMismatch if the query files cannot use its tables."""
        version = usable_version(found)
        if version == VERSION:
            refuse(drift.errors(found))
            for note in drift.notes(found):
                log.debug("schema: %s", note)
        distributed = drift.is_distributed(found)
        if self.passed and distributed != self.distributed:
            raise SchemaMismatch(_OTHER_LAYOUT[distributed], query=_QUERY)
        self.distributed = distributed
        self.trust(connection)


def require_server(connection: BaseConnection[Any]) -> None:
    """Raise SchemaMismatch if the server is too old."""
    if connection.info.server_version < _OLDEST_SERVER:
        version = connection.info.parameter_status("server_version")
        raise SchemaMismatch(f"session-dal needs PostgreSQL 15 or later, and this server is {version}")


def versions(found: Sequence[SchemaFact]) -> tuple[int, int]:
    """Return the version of the tables, and the oldest version whose releases can use them."""
    refuse(drift.misplaced(found))
    for fact in found:
        if fact.kind == "version":
            return int(fact.name), int(fact.definition)
    raise SchemaMismatch(f"schema.sql was never applied completely here; {APPLY}", query=_QUERY)


def usable_version(found: Sequence[SchemaFact]) -> int:
    """Return the version of the tables; raise SchemaMismatch unless it is this release's or a newer compatible one."""
    version, usable_from = versions(found)
    if version < VERSION:
        advice = f"needs {VERSION}; run `dal schema upgrade`"
    elif usable_from > VERSION:
        advice = f"is made for {VERSION}; install a newer one"
    else:
        return version
    raise SchemaMismatch(
        f"the tables here have version {version}, and this release of session-dal {advice}", query=_QUERY
    )


def refuse(errors: Sequence[str]) -> None:
    """Raise SchemaMismatch with these errors, unless there are none."""
    if errors:
        more = f" (and {len(errors) - _MOST} more)" if len(errors) > _MOST else ""
        mismatch = SchemaMismatch(
            f"session-dal cannot use these tables: {'; '.join(errors[:_MOST])}{more}. `dal schema check` lists all "
            "errors, and `dal schema apply` creates missing tables and indexes",
            query=_QUERY,
        )
        mismatch.differences = tuple(errors)
        raise mismatch
