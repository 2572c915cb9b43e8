"""Statements that remove messages of a session. They lock its row, and may have to run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dal import validate
from dal._async.queries import AsyncQuery, async_queries
from dal.appends import Append, Conditions, distribute_rows, message_columns
from dal.errors import DalError, MessageConflict, ServerUnavailable, StatementFailed
from dal.ids import new_id
from dal.records import Message

if TYPE_CHECKING:
    from dal._async.session import AsyncSession


async def remove_from(session: AsyncSession, sequence: int, *, if_next: int | None, keep: bool) -> int:
    """Remove the messages from a number on, and return how many."""
    query, least = async_queries.messages.remove_from, validate.number("sequence", sequence, least=0)
    rows = await _run(session, query, "remove from", validate.next_number(if_next), keep=keep, sequence=least)
    removed: int = rows[0].messages
    return removed


async def remove_last(session: AsyncSession, n: int, *, if_next: int | None, keep: bool) -> tuple[Message, ...]:
    """Remove the last messages, and return them in reading order."""
    query, most = async_queries.messages.remove_last, validate.number("n", n, least=1, most=validate.MAX_MANY)
    rows = await _run(session, query, "remove from", validate.next_number(if_next), keep=keep, n=most)
    removed = tuple([row.message for row in rows if row.sequence is not None])
    if len(removed) < rows[0].messages:
        raise StatementFailed(
            f"{rows[0].messages} messages of session {session.id!r} were removed, but the connection was lost before "
            "they were returned, and without keep they are gone",
            query=query.name,
        )
    return removed


async def replace_from(session: AsyncSession, sequence: int, append: Append, *, keep: bool) -> tuple[Message, ...]:
    """Remove the messages from a number on, append others in their place, and return these."""
    query, least = async_queries.messages.replace_from, validate.number("sequence", sequence, least=0)
    parameters = {"session_changes": append.conditions.json_session_changes, **message_columns(append.messages)}
    try:
        rows = await _run(
            session, query, "replace messages of", append.conditions.if_next, keep=keep, sequence=least, **parameters
        )
    except ServerUnavailable as error:
        error.message_ids = append.message_ids
        raise
    distribute_rows([append], [row for row in rows if row.position is not None])
    if not append.is_stored:
        raise _incomplete(append, least, query.name)
    session.persisted = True
    return append.stored


async def _run(
    session: AsyncSession, query: AsyncQuery, action: str, if_next: int | None, *, keep: bool, **parameters: Any
) -> Sequence[Any]:
    """Run a query that removes messages, and return its rows; raise the reason if it did nothing.

    If another change was faster, the statement has to run again, with a snapshot that shows it.
    """
    attempts = session._backend.runner.attempts()
    parameters |= {"change_id": new_id(), "keep": validate.flag("keep", keep), "if_next": if_next}
    while True:
        found = await session._run(query, attempts, **parameters)
        rows: Sequence[Any] = found if query.many else [found] * (found is not None)
        if not rows or rows[0].is_refused:
            reason = await session._why_nothing(query.name, action, Conditions(if_next, must_exist=True))
            stored_since = not rows and isinstance(reason, StatementFailed)
            raise session._missing(query.name) if stored_since else reason
        if not rows[0].is_stale:
            return rows


def _incomplete(append: Append, sequence: int, query: str) -> DalError:
    """Return the error of a replacement whose new messages are not all stored."""
    for message, row in zip(append.messages, append.rows, strict=True):
        if row is not None and not row.is_same:
            return MessageConflict(
                f"session {append.session_id!r} holds a message {message.message_id!r} before number {sequence}; give "
                "the new message another id, or none",
                query=query,
            )
    return StatementFailed(
        f"the new messages of session {append.session_id!r} are not all there: a trigger of your own on messages "
        "suppressed a row (see pg_trigger), or the connection was lost, and someone removed them before the retry",
        query=query,
    )
