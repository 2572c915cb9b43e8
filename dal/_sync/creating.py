# Generated from dal/_async/creating.py by .ci/async_to_sync.py: change that file, and run it.
"""Statements that store a session without an append: a new one without messages, or a fork of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dal import validate
from dal._sync.queries import Query, queries
from dal.appends import Conditions
from dal.errors import SessionDeleted, SessionExists
from dal.records import DELETED, LISTED, SessionRecord
from dal.retries import Attempts
from dal.rows import CreatedSession

if TYPE_CHECKING:
    from dal._sync.session import Session

_FORK: Query = queries.sessions.fork


def create_session(session: Session, *, again: bool) -> SessionRecord:
    """Store a session without a message; if it is stored with the same values, return it."""
    query, renews = queries.sessions.create, validate.flag("again", again) and session._backend.owner is None
    session._may_be_stored = True
    created: CreatedSession | None = None
    for _ in range(2):  # Only a second statement sees a session that another transaction has just created.
        created = created or session._run(query, **session._target.opening, again=renews)
    if created is None:
        raise session._why_nothing(query.name, "create")
    if not created.is_same:
        raise SessionExists(
            f"session {session.id!r} is already stored with another source, user, parent or metadata; give the same "
            "values, or another id",
            query=query.name,
        )
    session.persisted = True
    return created.record


def store_fork(session: Session, at: int | None, fork_id: str, json_metadata: str) -> SessionRecord:
    """Store a fork of `session`, with its messages before `at`, and return the fork's row.

    If an earlier attempt has stored the fork, return its row as it is now.
    """
    before = validate.MAX_NUMBER if at is None else validate.number("at", at, least=0)
    parameters = {"fork_id": fork_id, "fork_point": before, "metadata": json_metadata}
    attempts = session._backend.runner.attempts()
    stored: SessionRecord | None = session._run(_FORK, attempts, **parameters)
    stored = stored or _earlier_fork(session, attempts, at, fork_id)
    if stored is None:
        raise session._why_nothing(_FORK.name, "fork", Conditions(must_exist=True))
    return stored


def _earlier_fork(session: Session, attempts: Attempts, at: int | None, fork_id: str) -> SessionRecord | None:
    """Return the fork if an earlier attempt has stored it; raise an error if another session has its id."""
    get, backend, runner = queries.sessions.get, session._backend, session._backend.runner
    parent: SessionRecord | None = session._run(get, runner.attempts_after(attempts))
    of_fork = {"session_id": fork_id, "owner": backend.owner}
    found: SessionRecord | None = runner.send(get, of_fork, runner.attempts_after(attempts))
    if found is not None and found.parent_id == session.id and found.fork_point is not None:
        end = found.fork_point if at is None else min(at, parent.next_sequence if parent else at)
        if found.fork_point == end:
            return found
    if parent is None or parent.status not in LISTED:
        return None
    if found is not None and found.status == DELETED:
        raise SessionDeleted(f"session {fork_id!r} was deleted; give the fork another id", query=_FORK.name)
    if found is not None or backend.owner is not None:
        raise SessionExists(f"session {fork_id!r} is already stored; give the fork another id", query=_FORK.name)
    runner.check()  # By now a temporary table may hide the real one.
    return None
