"""The erasure of a user: everything that is stored of one user, in steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import IsolationLevel, Rollback

from dal import validate
from dal._async.backend import AsyncBackend
from dal._async.listing import delete_messages
from dal._async.queries import async_queries
from dal._async.runner import AsyncRunner
from dal.errors import InvalidInput, StatementFailed
from dal.records import Erased
from dal.rows import ErasureStep

_DEADLOCK = "40P01"

_PATIENCE = 10
"""The most steps in a row that may find sessions and delete none, since others were changing them at that moment."""


async def erase_user(
    backend: AsyncBackend, user_id: str, limit: int, message_limit: int, progress: Callable[[Erased], object] | None
) -> Erased:
    """Delete all sessions of a user, `limit` in a statement, until a statement finds none."""
    wanted: dict[str, Any] = {
        "user_id": validate.user(validate.identifier("user_id", user_id), backend.owner),
        "limit": validate.number("limit", limit, least=1),
        "message_limit": validate.number("message_limit", message_limit, least=1),
    }
    if progress is not None and not callable(progress):
        raise InvalidInput("progress", f"must be a function, not {type(progress).__name__}")
    if not backend.runner.source.has_own_transaction:
        wanted["message_limit"] = None  # Shorter statements would not make the caller's transaction shorter.
    receipt, in_vain = Erased(), 0
    while in_vain < _PATIENCE:
        step: ErasureStep = await backend.runner.run(async_queries.sessions.erase_user, **wanted)
        if not step.found:
            return receipt
        if step.next_sequence is not None:
            step = await _erase_long(backend.runner, step, wanted)
        in_vain = 0 if step.sessions else in_vain + 1
        receipt = _add(receipt, step)
        if progress is not None:
            progress(receipt)
    raise StatementFailed(
        f"{step.found} sessions of the user could not be deleted: a trigger of your own on sessions suppresses it "
        "(see pg_trigger), or others keep changing them; stop those, and call it again",
        query=async_queries.sessions.erase_user.name,
    )


async def _erase_long(runner: AsyncRunner, found: ErasureStep, wanted: dict[str, Any]) -> ErasureStep:
    """Delete a session with more messages than a statement may delete, by several statements in one transaction.

    Return the step before it, which deleted nothing, if the session was changed meanwhile. A removal in that session
    locks the session first and its messages second, which can end in a deadlock with this transaction.
    """
    erase = async_queries.sessions.erase_user
    async with runner.exclusive_transaction(erase.name, IsolationLevel.READ_COMMITTED) as (_, transaction):
        try:
            await delete_messages(
                transaction, found.first_id, found.next_sequence, wanted["message_limit"], patience=None
            )
            erased: ErasureStep = await transaction.run(erase, **wanted | {"limit": 1, "message_limit": None})
        except StatementFailed as error:
            if error.sqlstate != _DEADLOCK:
                raise
            raise Rollback from error
        if not erased.sessions or erased.first_id != found.first_id:
            raise Rollback
        return erased
    return found


def _add(receipt: Erased, step: ErasureStep) -> Erased:
    return Erased(
        receipt.sessions + step.sessions,
        receipt.messages + step.messages,
        receipt.removed_messages + step.removed_messages,
        tuple(dict.fromkeys([*receipt.forks, *step.forks])),
    )
