"""Calls of a writer, and the batches that they are sent in."""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass
from time import monotonic

from dal.appends import Append, Conditions
from dal.errors import DalError, DeadlineExceeded, ServerUnavailable, StoreClosed

MOST_MESSAGES, MOST_CHARACTERS = 1000, 2**20
"""The limits of a batch: a larger one takes longer, and stores no more messages per second."""

PATIENCE = 0.1
"""The lock_timeout of a batch, in seconds. If a session is locked for longer, the calls are resent one by one."""

WAITED_TOO_LONG = "nothing was sent: the writer was busy until the deadline; let fewer callers append at once"


@dataclass(slots=True, eq=False)
class Call:
    """An append that is queued or in flight. Each side has a subclass, with a way to wait for it."""

    append: Append
    deadline: float | None
    batch: Batch | None = None
    """If its caller is to send it: a batch with only this call, which has no lock_timeout."""
    error: BaseException | None = None
    is_done: bool = False
    is_abandoned: bool = False
    """Whether its caller gave up."""
    goes_alone: bool = False
    """Whether its caller is to send it: it has conditions of its own, or a batch with it has failed."""
    is_unknown: bool = False
    """Whether that batch may have been committed."""

    def end(self, error: BaseException | None) -> None:
        """End the call. The error is copied, since each caller raises one with the ids of its own messages."""
        if isinstance(error, DalError):
            cause, error = error.__cause__, copy(error)
            error.__cause__ = cause
        if isinstance(error, ServerUnavailable):
            error.message_ids = self.append.message_ids
        self.error, self.batch, self.is_done = error, None, True
        self.wake()

    def wake(self) -> None:
        """Wake the caller: the call has ended, or the caller is to send it."""
        raise NotImplementedError


class Batch:
    """Calls that are sent in one statement."""

    def __init__(self, *calls: Call) -> None:
        self.calls = list(calls)
        self._messages = self._characters = 0

    @property
    def deadline(self) -> float | None:
        """Return the earliest deadline of its calls."""
        return min([call.deadline for call in self.calls if call.deadline is not None], default=None)

    def load(self, lane: deque[Call], size: int) -> bool:
        """Take calls from the lane of a session, until the batch has `size` calls or the next one does not fit.

        Return whether it took any. A statement has each message_id of a session once.
        """
        before, kind, ids = len(self.calls), _kind(lane[0]), set[str]()
        while lane and len(self.calls) < size:
            append = lane[0].append
            message_ids = append.message_ids
            if _kind(lane[0]) != kind or not ids.isdisjoint(message_ids) or not self._reserve(append):
                break
            ids.update(message_ids)
            self.calls.append(lane.popleft())
        return len(self.calls) > before

    def _reserve(self, append: Append) -> bool:
        """Reserve room for an append; return False if it does not fit.

        A statement confines all of its sessions to their users, or none.
        """
        messages, characters = self._messages + len(append.messages), self._characters + append.characters
        if self.calls and (messages > MOST_MESSAGES or characters > MOST_CHARACTERS):
            return False
        if self.calls and (self.calls[0].append.owner is None) != (append.owner is None):
            return False
        self._messages, self._characters = messages, characters
        return True

    def end(self, error: BaseException | None) -> list[Call]:
        """End the calls that the error concerns, all if there is none; return the others, which are to be resent."""
        others = []
        for call in self.calls:
            if self._concerns(call, error):
                call.end(error)
            else:
                call.goes_alone = True
                is_known = isinstance(error, DalError) and not getattr(error, "outcome_unknown", False)
                call.is_unknown = call.is_unknown or not is_known
                others.append(call)
        return others

    def _concerns(self, call: Call, error: BaseException | None) -> bool:
        if call.is_abandoned or call.batch is self or error is None or isinstance(error, StoreClosed):
            return True
        if isinstance(error, DeadlineExceeded):
            return call.deadline is not None and call.deadline <= monotonic()
        return isinstance(error, ServerUnavailable)


def _kind(call: Call) -> tuple[bool, str | None, Conditions]:
    """Return what the calls to one session have in common if they share a statement."""
    return call.goes_alone, call.append.owner, call.append.conditions
