"""Forks: sessions that begin with the messages of another one."""

from __future__ import annotations

from dal import validate
from dal._async.backend import AsyncBackend
from dal._async.queries import AsyncQuery, async_queries
from dal.errors import SessionDeleted, SessionExists
from dal.records import DELETED, LISTED, SessionRecord

FORK: AsyncQuery = async_queries.sessions.fork


async def store_fork(
    backend: AsyncBackend, parent_id: str, at: int | None, fork_id: str, json_metadata: str
) -> SessionRecord | None:
    """Store a session with its parent's messages before `at`, and return its row; None if the parent refuses it.

    If an earlier attempt has stored it, return it as it is now.
    """
    before = validate.MAX_NUMBER if at is None else validate.number("at", at, least=0)
    parameters = {"fork_id": fork_id, "fork_point": before, "metadata": json_metadata, "owner": backend.owner}
    stored: SessionRecord | None = await backend.runner.run(FORK, session_id=parent_id, **parameters)
    return stored or await _earlier_fork(backend, parent_id, at, fork_id)


async def _earlier_fork(backend: AsyncBackend, parent_id: str, at: int | None, fork_id: str) -> SessionRecord | None:
    """Return the fork if it is stored; raise an error if its id is taken."""
    get = async_queries.sessions.get
    parent: SessionRecord | None = await backend.runner.run(get, session_id=parent_id, owner=backend.owner)
    found: SessionRecord | None = await backend.runner.run(get, session_id=fork_id, owner=backend.owner)
    if found is not None and found.parent_id == parent_id and found.fork_point is not None:
        end = found.fork_point if at is None else min(at, parent.next_sequence if parent else at)
        if found.fork_point == end:
            return found
    if parent is None or parent.status not in LISTED:
        return None
    if found is not None and found.status == DELETED:
        raise SessionDeleted(f"session {fork_id!r} was deleted; give the fork another id", query=FORK.name)
    if found is not None or backend.owner is not None:
        raise SessionExists(f"session {fork_id!r} is already stored; give the fork another id", query=FORK.name)
    await backend.runner.check()  # Since the check, a temporary table may hide the real one.
    return None
