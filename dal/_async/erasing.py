"""The erasure of a user: everything that is stored of one user, in steps."""

from __future__ import annotations

from collections.abc import Callable

from dal import validate
from dal._async.backend import AsyncBackend
from dal._async.queries import async_queries
from dal.errors import InvalidInput, StatementFailed
from dal.records import Erased
from dal.rows import ErasureStep

_PATIENCE = 10
"""The most steps in a row that may find sessions and delete none, since others were changing them at that moment."""


async def erase_user(
    backend: AsyncBackend, user_id: str, limit: int, progress: Callable[[Erased], object] | None
) -> Erased:
    """Delete all sessions of a user, `limit` in a statement, until a statement finds none."""
    of = validate.user(validate.identifier("user_id", user_id), backend.owner)
    most = validate.number("limit", limit, least=1)
    if progress is not None and not callable(progress):
        raise InvalidInput("progress", f"must be a function, not {type(progress).__name__}")
    receipt, in_vain = Erased(), 0
    while in_vain < _PATIENCE:
        step: ErasureStep = await backend.runner.run(async_queries.sessions.erase_user, user_id=of, limit=most)
        if not step.found:
            return receipt
        in_vain = 0 if step.sessions else in_vain + 1
        receipt = _add(receipt, step)
        if progress is not None:
            progress(receipt)
    raise StatementFailed(
        f"{step.found} sessions of the user could not be deleted: a trigger of your own on sessions suppresses it "
        "(see pg_trigger), or others keep changing them; stop those, and call it again",
        query=async_queries.sessions.erase_user.name,
    )


def _add(receipt: Erased, step: ErasureStep) -> Erased:
    return Erased(
        receipt.sessions + step.sessions,
        receipt.messages + step.messages,
        receipt.removed_messages + step.removed_messages,
        tuple(dict.fromkeys([*receipt.forks, *step.forks])),
    )
