# Generated from dal/_async/changing.py by .ci/async_to_sync.py: change that file, and run it.
"""Statements that change a stored session or one of its messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from dal import refusals, validate
from dal._sync.queries import Query, queries
from dal.errors import DalError, MessageNotFound
from dal.ids import new_id
from dal.records import DELETED, STATUSES, Message, SessionRecord

if TYPE_CHECKING:
    from dal._sync.session import Session


def change_session(
    session: Session, query: Query, becomes: Collection[str] = STATUSES, **checks_and_parameters: Any
) -> SessionRecord:
    """Change a session as `change_if_stored` does; raise an error if it is not stored."""
    record = change_if_stored(session, query, becomes, **checks_and_parameters)
    if record is None:
        raise session._why_nothing(query.name)
    return record


def change_if_stored(
    session: Session,
    query: Query,
    becomes: Collection[str],
    *,
    refusing: Collection[str] = (),
    action: str | None = None,
    **parameters: Any,
) -> SessionRecord | None:
    """Change a session, and return it as it is stored now; None if it is not stored.

    Raise an error if its status is one of `refusing`, which prevents the change, or is not one of `becomes` afterwards.
    `action` names the change in the error.
    """
    record: SessionRecord | None = session._run(query, change_id=new_id(), **parameters)
    if record is None:
        return None
    if record.status == DELETED:
        raise session._missing(query.name, record)
    session.persisted = True
    action, if_next = action or query.name.removeprefix("sessions."), parameters.get("if_next")
    if record.status in refusing:
        raise refusals.ended(record, query.name, action)
    if if_next is not None and if_next != record.next_sequence:
        raise refusals.overtaken(session.id, query.name, action, record.next_sequence, if_next)
    if record.status not in becomes:
        raise refusals.suppressed(session.id, query.name)
    return record


def change_message(session: Session, query: Query, message_id: str, **parameters: Any) -> Message:
    """Change a stored message, and return it as it is stored now.

    If another call removes the message while a redaction waits for the session's lock, only a second statement finds it
    among the removed messages.
    """
    parameters |= {"message_id": validate.identifier("message_id", message_id), "change_id": new_id()}
    message: Message | None = session._run(query, **parameters) or session._run(query, **parameters)
    if message is None:
        raise _why_no_message(session, query, message_id)
    session.persisted = True
    return message


def _why_no_message(session: Session, query: Query, message_id: str) -> DalError:
    found: SessionRecord | None = session._run(queries.sessions.get)
    if found is None or found.status == DELETED:
        return session._missing(query.name, found)
    if found.status == "trashed" and query is queries.messages.annotate:
        return refusals.ended(found, query.name, "annotate a message of")
    return MessageNotFound(
        f"session {session.id!r} has no message {message_id!r}: it was never stored, or was removed", query=query.name
    )
