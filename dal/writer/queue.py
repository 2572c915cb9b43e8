"""The queue of a writer, which decides which calls are sent next.

Calls to one session are sent in order; calls to different sessions share a batch. One batch is in flight at a time: it
had 1.03 times the throughput of up to four with tasks, and 1.02 times with threads (bench/test_batching.py).
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

from dal.errors import DeadlineExceeded, StoreClosed
from dal.writer.batch import WAITED_TOO_LONG, Batch, Call
from dal.writer.batch_size import BatchSize

CLOSED = "this writer was closed; make a new one"


class Queue:
    """The calls of one writer, by session, and the batch that is in flight.

    `put` and `finish` return the next batch, still empty, when it is time to send one. Their caller must `fill` it,
    send it and `finish` it, and then do the same with the batch that `finish` returns.
    """

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._lanes: dict[str, deque[Call]] = {}
        """The queued calls of each session, in order. A session with calls in flight keeps its lane, even if empty."""
        self._ready: dict[str, deque[Call]] = {}
        """The lanes of sessions with nothing in flight, the longest waiting first."""
        self._current: Batch | None = None
        """The batch in flight, or about to be. Calls that their callers send are in flight beside it."""
        self._size = BatchSize()
        self._last_size = 1
        self._expected_back = 0
        """How many callers of the last batch have not made another call yet."""
        self.waiting = 0
        """How many calls are queued, in no batch yet."""
        self.is_closed = False

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __contains__(self, session_id: str) -> bool:
        """Return whether calls to a session are queued or in flight."""
        return session_id in self._lanes

    def close(self) -> None:
        """Refuse new calls. It takes no lock, so that a signal handler may call it."""
        self.is_closed = True

    def put(self, call: Call) -> Batch | None:
        """Queue a call, or let its caller send it: if nothing else is queued, and the last batch had a single call.

        A caller also sends a call with conditions of its own, once no other call to the session is in flight.
        """
        session_id = call.append.session_id
        with self._lock:
            if self.is_closed:
                raise StoreClosed(CLOSED)
            call.goes_alone = call.append.conditions.are_own
            is_free = session_id not in self._lanes if call.goes_alone else not self._lanes and self._last_size <= 1
            self._expected_back -= self._expected_back > 0
            if is_free:
                self._lanes[session_id] = deque()
                call.batch = Batch(call)
                return None
            lane = self._lanes.get(session_id)
            if lane is None:
                lane = self._lanes[session_id] = self._ready[session_id] = deque()
            lane.append(call)
            self.waiting += 1
            return self._next()

    def leave(self, call: Call) -> None:
        """Remove a call whose caller gave up. If it is in flight, it is stored all the same."""
        session_id = call.append.session_id
        with self._lock:
            call.is_abandoned = True
            if call in self._lanes.get(session_id, ()):
                self._lanes[session_id].remove(call)
                self.waiting -= 1
                if session_id in self._ready:
                    self._release(session_id)

    @property
    def is_complete(self) -> bool:
        """Whether the next batch has all calls that it should wait for."""
        return self.waiting >= self._size.of(self.waiting + self._expected_back)

    def fill(self, batch: Batch) -> None:
        """Move calls into the batch. It stays empty if every queued call was cancelled or has expired."""
        with self._lock:
            size, now = self._size.of(self.waiting + self._expected_back), monotonic()
            for session_id, lane in list(self._ready.items()):
                before = len(lane)
                while lane and (lane[0].deadline or now) < now:
                    lane.popleft().end(DeadlineExceeded(WAITED_TOO_LONG))
                is_next_alone = not lane or lane[0].goes_alone
                if not is_next_alone and batch.load(lane, size):
                    del self._ready[session_id]
                self.waiting -= before - len(lane)
                if is_next_alone:
                    self._release(session_id)
                if len(batch.calls) >= size:
                    break
            self._last_size = len(batch.calls)

    def finish(self, batch: Batch, error: BaseException | None = None) -> Batch | None:
        """End the calls of a batch. Calls that its error does not concern are resent by their callers, each alone."""
        with self._lock:
            if self._current is batch:
                self._current = None
                self._size.end(len(batch.calls))
                self._expected_back = len(batch.calls)
            resent = batch.end(error)
            self.waiting += len(resent)
            for call in reversed(resent):
                self._lanes[call.append.session_id].appendleft(call)
            for session_id in {call.append.session_id for call in batch.calls}:
                self._release(session_id)
            return self._next()

    def _release(self, session_id: str) -> None:
        """Make the next call of a session ready, once none of its calls is in flight."""
        lane = self._lanes[session_id]
        if lane and not lane[0].goes_alone:
            self._ready[session_id] = lane
            return
        self._ready.pop(session_id, None)
        if not lane:
            del self._lanes[session_id]
            return
        call = lane.popleft()
        self.waiting -= 1
        call.batch = Batch(call)
        call.wake()

    def _next(self) -> Batch | None:
        if self._current is not None or not self._ready:
            return None
        self._current = Batch()
        self._size.begin()
        return self._current
