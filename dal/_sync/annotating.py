# Generated from dal/_async/annotating.py by .ci/async_to_sync.py: change that file, and run it.
"""Statements that change a stored message: annotations and redactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dal import validate
from dal._sync.queries import Query, queries
from dal.errors import DalError, MessageNotFound
from dal.ids import new_id
from dal.records import DELETED, Message, SessionRecord

if TYPE_CHECKING:
    from dal._sync.session import Session


def change_message(session: Session, query: Query, message_id: str, **changes: Any) -> Message:
    """Change a stored message, and return it as it is stored now.

    If the message is removed while the statement waits for the session, only a second one sees where it is kept.
    """
    changes |= {"message_id": validate.identifier("message_id", message_id), "change_id": new_id()}
    message: Message | None = session._run(query, **changes) or session._run(query, **changes)
    if message is None:
        raise _why_nothing(session, query, message_id)
    session.persisted = True
    return message


def _why_nothing(session: Session, query: Query, message_id: str) -> DalError:
    found: SessionRecord | None = session._run(queries.sessions.get)
    if found is None:
        return session._is_not_found(query.name)
    if found.status == DELETED:
        return session._is_deleted(query.name)
    if found.status == "trashed" and query is queries.messages.annotate:
        return session._is_over(found, query.name, "annotate a message of")
    return MessageNotFound(
        f"session {session.id!r} has no message {message_id!r}: it was never stored, or was removed", query=query.name
    )
