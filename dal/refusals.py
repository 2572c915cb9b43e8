"""The errors of statements that did nothing: each says why, from the session's row."""

from __future__ import annotations

from dal.appends import Conditions
from dal.errors import (
    DalError,
    Overtaken,
    SessionArchived,
    SessionDeleted,
    SessionNotFound,
    SessionTrashed,
    StatementFailed,
)
from dal.records import DELETED, OPEN, SessionRecord


def reason(  # noqa: PLR0913 - all that the reason depends on
    session_id: str,
    query: str,
    owner: str | None,
    found: SessionRecord | None,
    *,
    action: str | None,
    conditions: Conditions,
) -> DalError:
    """Return the error of a query that did nothing. `found` is the session's row.

    `action` is what the query does, if an archived or trashed session refuses it; otherwise None.
    """
    if found is not None and found.status == DELETED:
        return missing(session_id, query, owner, found)
    if found is not None and action is not None and found.status not in OPEN:
        return ended(found, query, action)
    next_sequence = 0 if found is None else found.next_sequence
    # With if_next=0, the statement would have created a session that is not stored.
    is_overtaken = found is not None or (conditions.if_next != 0 and not conditions.must_exist)
    if conditions.if_next is not None and is_overtaken:
        return overtaken(session_id, query, action, next_sequence, conditions.if_next)
    if found is None and (action is None or owner is not None or conditions.must_exist):
        return missing(session_id, query, owner)
    return suppressed(session_id, query)


def missing(
    session_id: str, query: str, owner: str | None, found: SessionRecord | None = None
) -> SessionNotFound | SessionDeleted:
    """Return the error of a session that is not stored; `found` is its tombstone, if it has one."""
    if found is not None:
        again = "to begin another one with this id, call create(again=True)"
        return SessionDeleted(f"session {session_id!r} was deleted; {again}", query=query)
    why = ": a session is stored with its first message" if owner is None else ", or is another user's"
    return SessionNotFound(f"session {session_id!r} is not stored{why}", query=query)


def ended(found: SessionRecord, query: str, action: str) -> DalError:
    """Return the error of a session that is archived or trashed."""
    if found.status == "trashed":
        return SessionTrashed(
            f"cannot {action} session {found.session_id!r}: it is in the trash; restore() brings it back", query=query
        )
    return SessionArchived(
        f"cannot {action} session {found.session_id!r}: it is archived, which is final; reset() begins a new one",
        query=query,
    )


def overtaken(session_id: str, query: str, action: str | None, next_sequence: int, if_next: int) -> Overtaken:
    """Return the error of a session whose next number is not the one that the caller requires."""
    return Overtaken(
        f"cannot {action} session {session_id!r}: its next number was not {if_next}, and is {next_sequence} now; "
        "read what was appended, and decide again",
        next_sequence=next_sequence,
        query=query,
    )


def suppressed(session_id: str, query: str) -> StatementFailed:
    """Return the error of a statement that should have changed the session, but did not."""
    return StatementFailed(
        f"session {session_id!r} was not changed as asked: a trigger of your own on sessions or messages "
        "suppressed a row (see pg_trigger), or someone else changed or deleted the session at this moment",
        query=query,
    )
