"""What waits for a writer to send it, and which of it goes together next.

Appends to one session go one after the other, in the order in which they came; those to different sessions go
together. While as many batches are on their way as may be, what comes gathers for the next, which is made ready
meanwhile: the server should not have to wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from math import inf
from time import monotonic
from types import MappingProxyType
from typing import Any, Protocol

from dal.batches import PATIENCE, Batch, Call, Lane, is_for, may_be_stored, own
from dal.errors import DeadlineExceeded, StoreClosed
from dal.underway import WORTHWHILE, Underway

CLOSED = "this writer was closed; make a new one"

WAITED_TOO_LONG = "nothing was sent: the writer was busy until the time was over; let fewer callers append at once"


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
        self._underway = Underway(batches)
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, Lane] = {}
        """Those of which something waits and nothing is on its way, the longest waiting first."""
        self._is_closed = False
        self.asked: Taker | None = None
        """Who takes the next batch."""
        self.next: Batch | None = None
        """What goes next, if it was taken ahead, while nothing more may be on its way."""
        self.waiting = 0
        """How many are in no batch yet."""
        self._away = 0
        """How many have not come again since the last batch ended."""
        self.crowd = 1
        """How many went together the last time."""

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def close(self) -> None:
        """Take nothing more in."""
        self._is_closed = True

    @property
    def has_more(self) -> bool:
        """Whether something is to be sent."""
        return self.waiting > 0 or self.next is not None

    @property
    def length(self) -> int:
        """How many calls wait to be sent."""
        ahead = self.next
        return self.waiting + (len(ahead.calls) if ahead is not None else 0)

    def put(self, call: Call) -> Batch | None:
        """Take a call in; give what goes next, if that was taken ahead now: it should be made ready."""
        session_id = call.append.session_id
        with self._lock:
            if self._is_closed:
                raise StoreClosed(CLOSED)
            if not self._lanes and self.crowd <= 1:
                lane = self._lanes[session_id] = Lane()
                lane.is_busy = True
                call.batch = Batch([call])
                self._underway.go(call.batch)
                return None
            lane = self._lanes.get(session_id) or self._lanes.setdefault(session_id, Lane())
            lane.waiting.append(call)
            self.waiting += 1
            self._away -= self._away > 0
            if not lane.is_busy:
                self._ready[session_id] = lane
            if self.asked is not None and self.waiting == self._wanted:
                self.asked.wake()
            self._go_on(None if lane.is_busy else call)
            return self._take_ahead() if self._ready and self.waiting >= WORTHWHILE else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way, so that the server waits."""
        return not self._underway

    @property
    def is_complete(self) -> bool:
        """Whether as many have come as are worth a batch: those who are about to come may come a little later."""
        return self.next is not None or self.waiting >= self._wanted

    @property
    def _wanted(self) -> int:
        return min(self.crowd, WORTHWHILE)

    @property
    def first(self) -> Call:
        """The call that has waited for the longest, of those that can be sent."""
        return (self.next.calls if self.next is not None else next(iter(self._ready.values())).waiting)[0]

    def take(self, taker: Taker) -> None:
        """Give its batch to who was asked to take it; none if all that waited has been left, or came too late."""
        with self._lock:
            self.asked = None
            if self.next is not None and (self.next.deadline or inf) <= monotonic():
                self._put_back(self.next)
            batch, self.next = self.next or self._gathered(), None
            if batch.calls:
                self.crowd = len(batch.calls)
                self._underway.go(batch)
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
            if self.next is not None and call in self.next.calls:
                self._put_back(self.next)
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
            for batch in self._underway:
                if batch.began + PATIENCE <= monotonic():
                    self._underway.count_no_more(batch)
            self._go_on()

    def sent(self, batch: Batch) -> None:
        """Let the callers of a batch go on: it is stored."""
        with self._lock:
            self._underway.came_back(batch)
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
                if is_for(call, batch, error):
                    call.end(own(call, error))
                else:
                    call.is_unknown = call.is_unknown or may_be_stored(error)
                    again.setdefault(call.append.session_id, []).append(call)
            self._ended(batch, again)

    def _ended(self, batch: Batch, again: Mapping[str, list[Call]] = MappingProxyType({})) -> None:
        """After a batch send what is to be sent apart, and free the other lanes."""
        batch.is_over = True
        self._away = len(batch.calls)
        behind = [call for call in batch.behind if not call.is_left]
        for session_id in batch.session_ids:
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
            self._underway.count_no_more(batch)
        self._go_on()

    def _go_on(self, came: Call | None = None) -> None:
        """Ask for the next batch, if one more may be on its way."""
        if self.asked is not None or not (self._ready or self.next):
            return
        if self._underway.has_room:
            self.asked = self._sender.ask(came)
            self.asked.wake()  # Not before: it looks whether it is asked.
        else:
            self._sender.look_later()

    @property
    def _share(self) -> int:
        if self._away and len(self._lanes) == 1:  # Nothing else can go meanwhile, and who is away comes again.
            return self.waiting
        return self._underway.share(self.waiting + self._away, len(self._lanes))

    def _take_ahead(self) -> Batch | None:
        """Take the next batch although it cannot be sent yet, once all have come who would go with it."""
        if self.asked is not None or self.next is not None or self.waiting < self._share:
            return None
        batch = self._gathered()
        self.next = batch if batch.calls else None
        return self.next

    def _put_back(self, ahead: Batch) -> None:
        """Let those wait again who were taken ahead."""
        self.next = None
        lanes = {session_id: self._lanes[session_id] for session_id in ahead.session_ids}
        for call in reversed(ahead.calls):
            lanes[call.append.session_id].waiting.appendleft(call)
        for lane in lanes.values():
            lane.is_busy = False
        self.waiting += len(ahead.calls)
        self._ready = lanes | self._ready

    def _gathered(self) -> Batch:
        batch = Batch([])
        share = self._share
        now = monotonic()
        for session_id, lane in list(self._ready.items()):
            before = len(lane.waiting)
            while lane.waiting and (lane.waiting[0].deadline or now) < now:
                lane.waiting.popleft().end(DeadlineExceeded(WAITED_TOO_LONG))
            taken = len(batch.calls)
            if lane.waiting:
                batch.load(lane, share)
            self.waiting -= before - len(lane.waiting)
            lane.is_busy = len(batch.calls) > taken
            if lane.is_busy or not lane.waiting:
                del self._ready[session_id]
            if not lane.is_busy and not lane.waiting:
                del self._lanes[session_id]
            if batch.is_full or len(batch.calls) >= share:
                break
        return batch
