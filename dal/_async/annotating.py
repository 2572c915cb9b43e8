"""Statements that change a stored message: annotations and redactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dal import validate
from dal._async.queries import AsyncQuery, async_queries
from dal.errors import DalError, MessageNotFound
from dal.ids import new_id
from dal.records import DELETED, Message, SessionRecord

if TYPE_CHECKING:
    from dal._async.session import AsyncSession


async def change_message(session: AsyncSession, query: AsyncQuery, message_id: str, **changes: Any) -> Message:
    """Change a stored message, and return it as it is stored now.

    If the message is removed while the statement waits for the session, only a second one sees where it is kept.
    """
    changes |= {"message_id": validate.identifier("message_id", message_id), "change_id": new_id()}
    message: Message | None = await session._run(query, **changes) or await session._run(query, **changes)
    if message is None:
        raise await _why_nothing(session, query, message_id)
    session.persisted = True
    return message


async def _why_nothing(session: AsyncSession, query: AsyncQuery, message_id: str) -> DalError:
    found: SessionRecord | None = await session._run(async_queries.sessions.get)
    if found is None:
        return session._is_not_found(query.name)
    if found.status == DELETED:
        return session._is_deleted(query.name)
    if found.status == "trashed" and query is async_queries.messages.annotate:
        return session._is_over(found, query.name, "annotate a message of")
    return MessageNotFound(
        f"session {session.id!r} has no message {message_id!r}: it was never stored, or was removed", query=query.name
    )
