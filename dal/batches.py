"""Calls that wait, the batches in which they are sent, and whom of a batch an error is for."""

from __future__ import annotations

from collections import deque
from copy import copy
from time import monotonic
from typing import Any

from dal.appends import Append, batch_parameters
from dal.errors import DalError, DeadlineExceeded, ServerUnavailable, StoreClosed

MOST_MESSAGES, MOST_CHARACTERS = 1000, 2**20
"""How much goes together: more would take longer, and not be faster."""

PATIENCE = 0.1
"""Seconds that a batch waits for a session that somebody holds, and after which others do not wait for a batch."""


class Call:
    """An append that somebody waits for. The two sides wait in their own ways."""

    __slots__ = ("append", "batch", "deadline", "error", "following", "is_done", "is_left", "is_unknown")

    def __init__(self, append: Append, deadline: float | None) -> None:
        self.append = append
        self.deadline = deadline
        self.batch: Batch | None = None
        """What it is to send, if it is who sends."""
        self.error: BaseException | None = None
        self.following: Call | None = None
        """Who is woken by whoever waits for this one, when that is awake."""
        self.is_done = False
        self.is_unknown = False
        """Whether it was sent with others, and may have been stored."""
        self.is_left = False
        """Whether nobody waits for it any more."""

    def end(self, error: BaseException) -> None:
        """Let whoever waits go on: this went wrong."""
        self.error = error
        self.is_done = True
        self.wake()

    def wake(self) -> None:
        """Wake whoever waits."""
        raise NotImplementedError


class Lane:
    """What waits for one session, in the order in which it came."""

    __slots__ = ("is_busy", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Call] = deque()
        self.is_busy = False
        """Whether some of it is on its way, or in the batch that goes next."""


class Batch:
    """Calls that are sent together; or one that is sent apart, with those of its session that come after it."""

    __slots__ = (
        "_characters",
        "_is_confined",
        "_messages",
        "_parameters",
        "began",
        "behind",
        "calls",
        "is_alone",
        "is_counted",
        "is_over",
        "work",
    )

    def __init__(self, calls: list[Call], behind: list[Call] | None = None) -> None:
        self.calls = calls
        self.behind = behind or []
        self.began = 0.0
        self.is_counted = False
        """Whether it is one of those of which only so many may be on their way."""
        self.is_over = False
        self.is_alone = False
        """Whether no other that counts was on its way meanwhile."""
        self.work = 0.0
        """Seconds of work for it, about."""
        self._messages = self._characters = 0
        self._is_confined: bool | None = None
        self._parameters: dict[str, Any] | None = None

    @property
    def appends(self) -> list[Append]:
        """What is sent."""
        return [call.append for call in self.calls]

    @property
    def session_ids(self) -> set[str]:
        """What it is for."""
        return {call.append.session_id for call in self.calls}

    def make_ready(self) -> dict[str, Any]:
        """Give the parameters of its statement, which are made once: before it can be sent, if somebody has time."""
        if self._parameters is None:
            self._parameters = batch_parameters(self.appends, PATIENCE)
        return self._parameters

    @property
    def deadline(self) -> float | None:
        """When the first of them must have ended."""
        return min([call.deadline for call in self.calls if call.deadline is not None], default=None)

    @property
    def is_unknown(self) -> bool:
        """Whether it may have been stored before, with others: then it goes alone now."""
        return self.calls[0].is_unknown

    def load(self, lane: Lane, most: int) -> None:
        """Take from a lane what goes with the rest: so many calls, what fits, and what one statement can store."""
        owner, ids = lane.waiting[0].append.owner, set[str]()
        while lane.waiting and len(self.calls) < most:
            append = lane.waiting[0].append
            messages, characters = self._messages + len(append.messages), self._characters + append.characters
            if self.calls and (messages > MOST_MESSAGES or characters > MOST_CHARACTERS):
                return
            if self._is_confined not in {None, owner is not None} or append.owner != owner:
                return
            if not ids.isdisjoint(append.message_ids):
                return
            ids.update(append.message_ids)
            self._messages, self._characters, self._is_confined = messages, characters, owner is not None
            self.calls.append(lane.waiting.popleft())

    @property
    def is_full(self) -> bool:
        """Whether nothing more would fit."""
        return self._messages >= MOST_MESSAGES or self._characters >= MOST_CHARACTERS


def is_for(call: Call, batch: Batch, error: BaseException) -> bool:
    """Whether a batch's error is this call's, and not that of another one in it."""
    if call.is_left or len(batch.calls) == 1 or isinstance(error, StoreClosed):
        return True
    if isinstance(error, DeadlineExceeded):
        return call.deadline is not None and call.deadline <= monotonic()
    return isinstance(error, ServerUnavailable)


def may_be_stored(error: BaseException) -> bool:
    """Whether what failed so may have been stored all the same."""
    return error.outcome_unknown if isinstance(error, ServerUnavailable) else not isinstance(error, DalError)


def own(call: Call, error: BaseException) -> BaseException:
    """An error of the call's own: each is raised in another place, and names other messages."""
    if not isinstance(error, DalError):
        return error
    own = copy(error)
    own.__cause__ = error.__cause__
    if isinstance(own, ServerUnavailable):
        own.message_ids = call.append.message_ids
    return own
