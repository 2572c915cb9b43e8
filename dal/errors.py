"""The errors that callers catch. dal.driver_errors makes them from those of the driver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from dal.records import Message


class DalError(Exception):
    """The base class of all errors of this library.

    `query` is the name of the query file, such as "messages.append", and `sqlstate` is PostgreSQL's code; both are None
    if no statement was sent. The cause is the driver's own error, without the parts that may quote stored content.
    """

    def __init__(self, message: str, *, query: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.query = query
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.query, self.sqlstate) if part)
        return f"{self.args[0]} [{where}]" if where else str(self.args[0])


class InvalidInput(DalError, ValueError):
    """An argument cannot be stored; nothing was sent. `argument` names it."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument}: {reason}")
        self.argument = argument
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, str]]:
        return type(self), (self.argument, self.reason)


class SessionNotFound(DalError, LookupError):
    """No such session is stored: it never had a message, was deleted, or is another user's."""


class SessionDeleted(SessionNotFound):
    """The session was deleted. `create(again=True)` begins another one with its id."""


class SessionExists(DalError):
    """A session with this id is already stored, with other values."""


class SessionArchived(DalError):
    """The session is archived, which is final."""


class SessionTrashed(DalError):
    """The session is in the trash. `restore()` brings it back."""


class Overtaken(DalError):
    """The session's next number is not the given `if_next`: somebody else was faster. Nothing was changed.

    `next_sequence` is the session's next number, as read a moment later.
    """

    def __init__(
        self, message: str, *, next_sequence: int, query: str | None = None, sqlstate: str | None = None
    ) -> None:
        super().__init__(message, query=query, sqlstate=sqlstate)
        self.next_sequence = next_sequence

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), next_sequence=self.next_sequence), self.args, self.__dict__


class MessageConflict(DalError):
    """A message with this id is already stored, with other content."""


class MessageNotFound(DalError, LookupError):
    """The session has no message with this id: it was never stored, or was removed."""


class PartlyRefused(DalError):
    """Some messages of `store.append_all` are not stored, or not known to be; the others are stored.

    `outcomes` has the stored Message or the error for each given message, in their order. If an error is a
    ServerUnavailable whose `outcome_unknown` is true, its message may be stored: send it again with the same id.
    """

    def __init__(self, outcomes: Sequence[Message | DalError]) -> None:
        errors = [one for one in outcomes if isinstance(one, DalError)]
        super().__init__(
            f"{len(errors)} of {len(outcomes)} messages failed, and the others are stored; the first error: {errors[0]}"
        )
        self.outcomes = tuple(outcomes)

    def __reduce__(self) -> tuple[type[PartlyRefused], tuple[tuple[Message | DalError, ...]]]:
        return type(self), (self.outcomes,)


class SchemaMismatch(DalError):
    """The tables are missing or are not those of this release, or the server is too old.

    If the tables have the right version, `differences` lists all errors in them, each as a sentence.
    """

    differences: tuple[str, ...] = ()


class ServerUnavailable(DalError):
    """The server cannot be reached, the connection was lost, or no connection was free.

    If `outcome_unknown` is true, the statement was sent and may have been committed. Repeat an append with the
    error's `message_ids`, so that each message is stored once.
    """

    outcome_unknown: bool = False
    message_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.outcome_unknown:
            return super().__str__()
        how = "; to repeat it safely, use the ids in message_ids" if self.message_ids else ""
        return f"{super().__str__()}; the statement may have been committed{how}"


class DeadlineExceeded(ServerUnavailable, TimeoutError):
    """The operation did not end within the store's `timeout`."""


class StatementFailed(DalError):
    """The server refused a statement for a reason that has no error class of its own."""


class StoreClosed(DalError):
    """The store, its pool or its transaction has ended."""
