"""What waits for a writer to send it, and which of it goes together next.

Appends to one session go one after the other, in the order in which they came; those to different sessions go
together. While as many batches are on their way as may be, what comes gathers for the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from time import monotonic
from types import MappingProxyType
from typing import Any, Protocol

from dal.appends import Append
from dal.errors import DalError, DeadlineExceeded, ServerUnavailable, StoreClosed

MOST_MESSAGES, MOST_CHARACTERS = 1000, 2**20
"""How much goes together: more would take longer, and not be faster."""

WORTHWHILE = 16
"""How many calls are worth a batch of their own while more wait: fewer would take nearly as long as all."""

PATIENCE = 0.1
"""Seconds that a batch waits for a session that somebody holds, and after which others do not wait for a batch."""

WAITED_TOO_LONG = "nothing was sent: the writer was busy until the time was over; let fewer callers append at once"


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
        """Whether some of it is on its way."""


class Batch:
    """Calls that are sent together; or one that is sent apart, with those of its session that come after it."""

    __slots__ = ("_characters", "_is_confined", "_messages", "began", "behind", "calls", "is_counted", "is_over")

    def __init__(self, calls: list[Call], behind: list[Call] | None = None) -> None:
        self.calls = calls
        self.behind = behind or []
        self.began = monotonic()
        self.is_counted = behind is None
        """Whether it is one of those of which only so many may be on their way."""
        self.is_over = False
        self._messages = self._characters = 0
        self._is_confined: bool | None = None

    @property
    def appends(self) -> list[Append]:
        """What is sent."""
        return [call.append for call in self.calls]

    @property
    def deadline(self) -> float | None:
        """When the first of them must have ended."""
        return min((call.deadline for call in self.calls if call.deadline is not None), default=None)

    @property
    def is_unknown(self) -> bool:
        """Whether something of it may have been stored before."""
        return any(call.is_unknown for call in self.calls)

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


class Taker(Protocol):
    """Who takes the next batch, and sends it."""

    batch: Batch | None
    """What it is to send."""

    def wake(self) -> None:
        """Look whether it is asked, and wait for no more to come."""


class Sender(Protocol):
    """What sends the batches of a gathering. It is told what to do under the lock, and does it afterwards."""

    def ask(self, came: Call | None, /) -> Taker:
        """Say who takes the next batch, when those have come who are about to: this call, which has just come, may."""

    def start(self, batch: Batch, /) -> None:
        """Send this batch, which no call was asked to send."""

    def wake(self, calls: Sequence[Call], /) -> None:
        """Let all of these go on."""

    def look_later(self) -> None:
        """Call `look` when the batches that are on their way have had patience enough: others wait for them."""


class Gathering:
    """The calls of one writer.

    It asks for a batch to be sent: whoever is to do it takes all that has come until then, sends it, and says what
    became of it. A call that comes alone has its batch at once.
    All that changes here is done under the lock, and as a whole.
    """

    def __init__(self, lock: AbstractContextManager[Any], sender: Sender, batches: int) -> None:
        self._lock = lock
        self._sender = sender
        self._batches = batches
        self._on_their_way: list[Batch] = []
        """Those that count."""
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, Lane] = {}
        """Those of which something waits and nothing is on its way, the longest waiting first."""
        self._is_closed = False
        self.asked: Taker | None = None
        """Who takes the next batch."""
        self.waiting = 0
        self._away = 0
        """How many have not come again since the last batch ended."""
        self.crowd = 1
        """How many went together the last time."""

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def close(self) -> None:
        """Take nothing more in."""
        self._is_closed = True

    def put(self, call: Call) -> None:
        """Take a call in."""
        session_id = call.append.session_id
        with self._lock:
            if self._is_closed:
                raise StoreClosed("this writer was closed; make a new one")
            if not self._lanes and self.crowd <= 1:
                lane = self._lanes[session_id] = Lane()
                lane.is_busy = True
                call.batch = Batch([call])
                self._on_their_way.append(call.batch)
                return
            lane = self._lanes.get(session_id) or self._lanes.setdefault(session_id, Lane())
            lane.waiting.append(call)
            self.waiting += 1
            self._away -= self._away > 0
            if not lane.is_busy:
                self._ready[session_id] = lane
            if self.asked is not None and self.waiting == self.wanted:
                self.asked.wake()
            self._go_on(None if lane.is_busy else call)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way, so that the server waits."""
        return not self._on_their_way

    @property
    def wanted(self) -> int:
        """How many are worth a batch: those who are about to come may come a little later."""
        return min(self.crowd, WORTHWHILE)

    @property
    def first(self) -> Call:
        """The call that has waited for the longest, of those that can be sent."""
        return next(iter(self._ready.values())).waiting[0]

    def take(self, taker: Taker) -> None:
        """Give its batch to who was asked to take it; none if all that waited has been left, or came too late."""
        with self._lock:
            self.asked = None
            batch = self._gathered()
            if batch.calls:
                self.crowd = len(batch.calls)
                self._on_their_way.append(batch)
                if isinstance(taker, Call) and taker.is_done:  # It came too late, and does not wait for the others.
                    self._sender.start(batch)
                else:
                    taker.batch = batch
            self._go_on()

    def leave(self, call: Call) -> None:
        """Take a call out, since nobody waits for it any more; one that is on its way goes on."""
        session_id = call.append.session_id
        with self._lock:
            call.is_left = True
            lane = self._lanes.get(session_id)
            if lane is not None and call in lane.waiting:
                lane.waiting.remove(call)
                self.waiting -= 1
                if not lane.waiting:
                    self._ready.pop(session_id, None)
                    if not lane.is_busy:
                        del self._lanes[session_id]
            if self.asked is call:
                self.asked = None
            self._go_on()

    def look(self) -> None:
        """Let what waits go past a batch that takes long: it may wait for a lock."""
        with self._lock:
            for batch in list(self._on_their_way):
                if batch.began + PATIENCE <= monotonic():
                    self._count_no_more(batch)
            self._go_on()

    def sent(self, batch: Batch) -> None:
        """Let the callers of a batch go on: it is stored."""
        with self._lock:
            self._ended(batch)  # Who sends next is woken first.
            for call in batch.calls:
                call.is_done = True
            self._sender.wake([call for call in batch.calls if not call.is_left])

    def failed(self, batch: Batch, error: BaseException) -> None:
        """Let those go on whom the error is for; the others are sent apart, so that what is wrong fails alone."""
        with self._lock:
            if batch.is_over:
                return
            again: dict[str, list[Call]] = {}
            for call in batch.calls:
                if _is_for(call, batch, error):
                    call.end(_own(call, error))
                else:
                    call.is_unknown = call.is_unknown or _may_be_stored(error)
                    again.setdefault(call.append.session_id, []).append(call)
            self._ended(batch, again)

    def _ended(self, batch: Batch, again: Mapping[str, list[Call]] = MappingProxyType({})) -> None:
        """After a batch send what is to be sent apart, and free the other lanes."""
        batch.is_over = True
        self._away = len(batch.calls)
        behind = [call for call in batch.behind if not call.is_left]
        for session_id in {call.append.session_id for call in batch.calls}:
            following = again.get(session_id, behind)
            if following:
                self._sender.start(Batch(following[:1], following[1:]))
                continue
            lane = self._lanes[session_id]
            lane.is_busy = False
            if lane.waiting:
                self._ready[session_id] = lane
            else:
                del self._lanes[session_id]
        if batch.is_counted:
            self._count_no_more(batch)
        self._go_on()

    def _count_no_more(self, batch: Batch) -> None:
        batch.is_counted = False
        self._on_their_way.remove(batch)

    def _go_on(self, came: Call | None = None) -> None:
        """Ask for the next batch, if one more may be on its way."""
        if self.asked is not None or not self._ready:
            return
        if len(self._on_their_way) < self._batches:
            self.asked = self._sender.ask(came)
            self.asked.wake()  # Not before: it looks whether it is asked.
        else:
            self._sender.look_later()

    def _gathered(self) -> Batch:
        batch = Batch([])
        present = self.waiting + sum(len(one.calls) for one in self._on_their_way)
        share = -(-present // self._batches)
        # If all are here and go, nobody comes meanwhile: the server would wait for them, and then they for it.
        most = MOST_MESSAGES if self._away else max(WORTHWHILE, -(-self.waiting // 2))
        now = monotonic()
        for session_id, lane in list(self._ready.items()):
            before = len(lane.waiting)
            while lane.waiting and (lane.waiting[0].deadline or now) < now:
                lane.waiting.popleft().end(DeadlineExceeded(WAITED_TOO_LONG))
            taken = len(batch.calls)
            if lane.waiting:
                batch.load(lane, most)
            self.waiting -= before - len(lane.waiting)
            lane.is_busy = len(batch.calls) > taken
            if lane.is_busy or not lane.waiting:
                del self._ready[session_id]
            if not lane.is_busy and not lane.waiting:
                del self._lanes[session_id]
            if batch.is_full or len(batch.calls) >= share:
                break
        return batch


def _is_for(call: Call, batch: Batch, error: BaseException) -> bool:
    """Whether a batch's error is this call's, and not that of another one in it."""
    if call.is_left or len(batch.calls) == 1 or isinstance(error, StoreClosed):
        return True
    if isinstance(error, DeadlineExceeded):
        return call.deadline is not None and call.deadline <= monotonic()
    return isinstance(error, ServerUnavailable)


def _may_be_stored(error: BaseException) -> bool:
    """Whether what failed so may have been stored all the same."""
    return error.outcome_unknown if isinstance(error, ServerUnavailable) else not isinstance(error, DalError)


def _own(call: Call, error: BaseException) -> BaseException:
    """An error of the call's own: each is raised in another place, and names other messages."""
    if not isinstance(error, DalError):
        return error
    own = copy(error)
    own.__cause__ = error.__cause__
    if isinstance(own, ServerUnavailable):
        own.message_ids = call.append.message_ids
    return own
