# Generated from dal/_async/listing.py by .ci/async_to_sync.py: change that file, and run it.
"""Statements over many sessions: lists, their agents, the deletion of idle ones, and the purge of what is left."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from psycopg import IsolationLevel, Rollback

from dal import validate
from dal._sync.backend import Backend
from dal._sync.queries import Query, queries
from dal._sync.runner import Runner
from dal.errors import DalError, InvalidInput, StatementFailed
from dal.own_writes import OwnWrites
from dal.records import Purged, SessionPage, Status
from dal.rows import IdleSession

_LISTS: dict[tuple[str, ...], Query] = {
    (): queries.sessions.list,
    ("user_id",): queries.sessions.list_of_user,
    ("source",): queries.sessions.list_of_source,
    ("user_id", "source"): queries.sessions.list_of_user_and_source,
    ("parent_id",): queries.sessions.list_of_parent,
    ("user_id", "parent_id"): queries.sessions.list_of_parent,
}
"""The query of a list, by its filters."""

_PATIENCE = "20ms"
"""The lock_timeout of a deletion: far below deadlock_timeout (1 s), so that no append can be the victim of a
deadlock."""

_LOCK_NOT_AVAILABLE = "55P03"


def list_sessions(  # noqa: PLR0913, PLR0917 - as SessionStore.sessions
    backend: Backend,
    user_id: str | None,
    source: str | None,
    parent_id: str | None,
    status: Status | Collection[Status] | None,
    limit: int,
    cursor: str | None,
) -> SessionPage:
    """Return a page of sessions, latest activity first."""
    place_before, id_before = validate.cursor("cursor", cursor)
    wanted: dict[str, Any] = {
        "statuses": validate.statuses("status", status),
        "place_before": place_before,
        "id_before": id_before,
        # One more than the page, to see whether there is a next one.
        "limit": validate.number("limit", limit, least=1) + 1,
    }
    filters = {
        "user_id": validate.user(user_id, backend.owner),
        "source": validate.optional_identifier("source", source),
        "parent_id": validate.optional_identifier("parent_id", parent_id),
    }
    query = _LISTS.get(tuple(name for name, value in filters.items() if value is not None))
    if query is None:
        raise InvalidInput("source", "cannot be given together with parent_id, since no index has both")
    wanted |= {name: value for name, value in filters.items() if name in query.parameters}
    rows = backend.read(query, wanted)
    if rows and rows[0].is_ahead and _relisted(backend):
        rows = backend.runner.run(query, **wanted)
    page = tuple([row.record for row in rows[:limit]])
    more = len(rows) > limit
    return SessionPage(page, validate.make_cursor(rows[limit - 1].place, page[-1].session_id) if more else None)


def _relisted(backend: Backend) -> bool:
    """Restore the order of sessions that a wrong clock put ahead of all others, if the store may write."""
    if backend.read_only or not backend.runner.source.has_own_transaction:
        return False
    try:
        return bool(backend.runner.run(queries.sessions.relist, owner=backend.owner))
    except DalError:  # For example, a role that can only read. Only the order is wrong then.
        return False


def count_sessions(backend: Backend, user_id: str | None) -> dict[Status, int]:
    """Return the number of a user's sessions of each status."""
    of = validate.user(user_id, backend.owner)
    if of is None:
        raise InvalidInput("user_id", "must be given, unless the store is confined to a user")
    rows = backend.read(queries.sessions.count_of_user, {"user_id": of})
    return {row.status: row.sessions for row in rows}


def list_agents(
    backend: Backend, session_ids: Collection[str], writes: OwnWrites | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the agents of each session, in order of first appearance."""
    wanted = validate.identifiers("session_ids", session_ids)
    if not wanted:
        return {}
    query: Query = queries.sessions.agent_ids
    if backend.read_only or backend.standby is not None:
        query = queries.sessions.agent_ids_read_only
    rows = backend.read(query, {"session_ids": wanted, "owner": backend.owner}, writes)
    found = {row.session_id: tuple(row.agent_ids) for row in rows}
    return {session_id: found.get(session_id, ()) for session_id in wanted}


def delete_idle(
    backend: Backend, before: datetime, most: int, status: Status | None, message_limit: int
) -> tuple[str, ...]:
    """Delete at most `most` sessions, without waiting for locks, and return their ids.

    The statement skips sessions whose row is locked. A locked row that refers to a session, such as one of a
    service's own table, is found only by the delete, which then fails as a whole. So the next attempts take fewer
    sessions, down to the one that cannot be deleted, and skip that one.
    In a transaction of the caller's the statement waits for locks, since a lock_timeout would stay set after it, and
    deletes any number of messages, since the locks last until the caller's commit anyway.
    """
    wanted: dict[str, Any] = {
        "idle_since": validate.moment("before", before),
        "statuses": validate.statuses("status", status),
    }
    query: Query = queries.sessions.delete_idle
    if backend.owner is not None:
        wanted["user_id"] = backend.owner
        query = queries.sessions.delete_idle_of_user
    most = validate.number("limit", most, least=1)
    in_step = validate.number("message_limit", message_limit, least=1)
    is_own = backend.runner.source.has_own_transaction
    wanted |= {"message_limit": in_step, "patience": _PATIENCE} if is_own else {"message_limit": None, "patience": None}
    passed_over, limit, tried = 0, most, None
    while True:
        try:
            rows = backend.runner.run(query, passed_over=passed_over, limit=limit, **wanted)
        except StatementFailed as error:
            if error.sqlstate != _LOCK_NOT_AVAILABLE or not is_own:
                raise
            passed_over, limit = (passed_over, limit // 2) if limit > 1 else (passed_over + 1, most)
            continue
        if not rows or rows[0].is_deleted or not is_own:
            return tuple([row.session_id for row in rows if row.is_deleted])
        first: IdleSession = rows[0]
        if first.next_sequence is None or first.session_id == tried:
            passed_over += 1
        elif _delete_long(backend.runner, query, first, {**wanted, "passed_over": passed_over}):
            return (first.session_id,)
        else:
            tried = first.session_id


def _delete_long(runner: Runner, query: Query, long: IdleSession, wanted: dict[str, Any]) -> bool:
    """Delete a session with more messages than a statement may delete, by several statements in one transaction.

    Return False if it is in use. Then nothing was deleted.
    """
    in_step, is_deleted = wanted["message_limit"], False
    with runner.exclusive_transaction(query.name, IsolationLevel.READ_COMMITTED) as (_, transaction):
        try:
            delete_messages(transaction, long.session_id, long.next_sequence, in_step, wanted["patience"])
            rows = transaction.run(query, **wanted | {"limit": 1, "message_limit": None})
        except StatementFailed as error:
            if error.sqlstate != _LOCK_NOT_AVAILABLE:
                raise
            rows = []
        is_deleted = any(row.is_deleted and row.session_id == long.session_id for row in rows)
        if not is_deleted:  # It is locked, or it was changed, so that the statement found another session.
            raise Rollback
    return is_deleted


def delete_messages(
    transaction: Runner, session_id: str | None, next_sequence: int | None, in_step: int, patience: str | None
) -> None:
    """Delete the messages of a session, before the session is deleted in the same transaction."""
    for first in range(0, next_sequence or 0, in_step):
        transaction.run(
            queries.messages.delete_range,
            session_id=session_id,
            first=first,
            last=first + in_step - 1,
            patience=patience,
        )


def purge(backend: Backend, before: datetime, most: int) -> Purged:
    """Remove at most `most` tombstones, and as many removed messages, that are older than `before`."""
    wanted = {"before": validate.moment("before", before), "limit": validate.number("limit", most, least=1)}
    if backend.owner is not None:
        raise StatementFailed("a tombstone does not say whose session it was; use purge() of a store for all users")
    purged: Purged = backend.runner.run(queries.sessions.purge, **wanted)
    return purged
