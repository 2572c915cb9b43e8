"""A writer: what many threads append goes together. Its asynchronous twin is written by hand: there tasks send."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from itertools import pairwise, repeat
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread, main_thread
from time import monotonic, sleep
from typing import Any

from dal._sync.appends import Appends
from dal._sync.runner import Runner
from dal.appends import Append
from dal.batches import PATIENCE, Batch, Call
from dal.errors import DeadlineExceeded
from dal.gathering import WAITED_TOO_LONG, Gathering, Taker
from dal.retries import Attempts

_CROWD = 0.0005
"""Seconds that a batch waits for those who went together the last time, at most: less than a flush takes."""


class _Waiting(Call):
    """A call that a thread waits for, which may be told to send a batch meanwhile."""

    __slots__ = ("_asleep",)

    def __init__(self, append: Append, deadline: float | None) -> None:
        super().__init__(append, deadline)
        self._asleep = _asleep()

    def wait(self, seconds: float = PATIENCE) -> bool:
        """Wait for its end, or for a batch to send; False if neither came soon."""
        return self._asleep.acquire(timeout=seconds)

    def wake(self) -> None:
        """Wake its thread."""
        _wake(self._asleep)


class _Servant:
    """A thread of the writer's own, which sends one batch after the other, and ends with the writer."""

    def __init__(self, serve: Callable[[_Servant], None]) -> None:
        self._asleep = _asleep()
        self.batch: Batch | None = None
        """What it is to send."""
        self.thread = Thread(target=serve, args=(self,), name="session-dal writer", daemon=True)
        self.thread.start()

    def wait(self, seconds: float = -1) -> None:
        """Wait for a batch to send."""
        self._asleep.acquire(timeout=seconds)

    def wake(self) -> None:
        """Have it take a batch."""
        _wake(self._asleep)


def _asleep() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


def _wake(asleep: Lock) -> None:
    if asleep.locked():
        asleep.release()


class _Whole:
    """A lock under which no interrupt comes: what is done under it is done as a whole."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._handler: Any = None
        self._has_come = False

    def __enter__(self) -> None:
        if current_thread() is main_thread():  # No other is ever interrupted.
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                signal.signal(signal.SIGINT, self._comes)
                self._handler = handler
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
        if self._handler is not None and current_thread() is main_thread():
            handler, self._handler = self._handler, None
            has_come, self._has_come = self._has_come, False
            signal.signal(signal.SIGINT, handler)
            if has_come:
                signal.raise_signal(signal.SIGINT)

    def _comes(self, *_: object) -> None:
        self._has_come = True


class Writer(Appends):
    """Sends appends together.

    A caller sends each batch, so that no time is lost between threads; but when the server waits for the next one, a
    servant does, which knows first that the server waits: it has sent the last one.
    """

    def __init__(self, runner: Runner, *, batches: int, waiting: int) -> None:
        super().__init__(runner)
        self._gathering = Gathering(_Whole(), self, batches)
        self._kept = runner.keep(lambda: self._gathering.has_more)
        self._room: SimpleQueue[None] = SimpleQueue()
        """As many as may still come: a semaphore that takes a tenth of the time of threading's."""
        for _ in repeat(None, waiting):
            self._room.put(None)
        self._idle: list[_Servant] = []
        self._is_closed = False

    def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store what it has, with what others have, and put down what became of it."""
        deadline = attempts.deadline if attempts is not None else self._runner.deadline()
        try:
            self._room.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
        except Empty:
            raise DeadlineExceeded(WAITED_TOO_LONG, query=append.query) from None
        call = _Waiting(append, deadline)
        try:
            ahead = self._gathering.put(call)
            if ahead is not None:
                ahead.make_ready()
            while call.batch is not None or not call.is_done:
                if call.batch is not None:
                    self._send(call, call.batch)
                elif self._gathering.asked is call:
                    self._take(call)
                elif not call.wait():
                    self._gathering.look()
        except BaseException as error:
            self._interrupted(call, error)
            raise
        finally:
            if call.following is not None:
                call.following.wake()
            self._room.put(None)
        if call.error is not None:
            raise call.error

    def _interrupted(self, call: Call, error: BaseException) -> None:
        self._gathering.leave(call)
        if call.batch is not None:
            self._gathering.failed(call.batch, error)
        self._kept.rest()

    def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was."""
        self._gathering.close()
        while self._gathering:
            sleep(0.001)
        self._kept.rest()
        self._is_closed = True
        for servant in self._idle:
            servant.wake()
            servant.thread.join()

    def ask(self, came: Call | None) -> Taker:
        """Have a servant take the batch, if the server waits for it; else who has come, or has waited the longest."""
        return came or (self._servant() if self._gathering.is_idle else None) or self._gathering.first

    def _servant(self) -> _Servant | None:
        """One that sends nothing: all others wait for what they have sent."""
        if self._idle:
            return self._idle.pop()
        try:
            return _Servant(self._serve)
        except RuntimeError:  # The system, or a Python that ends, starts no more threads.
            return None

    def wake(self, calls: Sequence[Call]) -> None:
        """Wake the first, who wakes the next: all at once would only get into each other's way."""
        for call, following in pairwise(calls):
            call.following = following
        if calls:
            calls[0].wake()

    def look_later(self) -> None:
        """Those who wait look by themselves."""

    def start(self, batch: Batch) -> None:
        """Have a thread of the batch's own send it."""
        leader = batch.calls[0]
        leader.batch = batch
        leader.wake()

    def _serve(self, servant: _Servant) -> None:
        while not self._is_closed:
            servant.wait()
            if self._gathering.asked is servant:
                self._take(servant)
                if servant.batch is not None:
                    self._send(servant, servant.batch)
                else:
                    self._idle.append(servant)

    def _take(self, taker: _Waiting | _Servant) -> None:
        """Take a batch, when those have come who are about to: the last of them wakes it."""
        if not self._gathering.is_complete:
            taker.wait(_CROWD)
        self._gathering.take(taker)
        if taker.batch is None:
            self._kept.rest()

    def _send(self, taker: _Waiting | _Servant, batch: Batch) -> None:
        """Send the batch that somebody took, who may then be given another one; a servant, by those whom it tells."""
        attempts = self._runner.attempts(batch.deadline, unknown=batch.is_unknown, source=self._kept)
        servant = taker if isinstance(taker, _Servant) else None
        error: BaseException | None = None
        try:
            if len(batch.calls) == 1:
                super().send(batch.calls[0].append, attempts)
            else:
                self.send_all(batch.appends, attempts, batch.make_ready())
        except BaseException as raised:  # Whatever it is, it is told to those that it is for.
            if taker is not servant and not isinstance(raised, Exception):
                raise  # The caller's own, such as an interrupt.
            error = raised
        if servant is not None:
            self._idle.append(servant)
        if error is None:
            self._gathering.sent(batch)
        else:
            self._gathering.failed(batch, error)
        if taker.batch is batch:
            taker.batch = None
