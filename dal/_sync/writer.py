"""A writer: what many threads append goes together. Its asynchronous twin is written by hand: there tasks send."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from contextvars import copy_context
from itertools import pairwise, repeat
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread, main_thread
from time import monotonic, sleep
from weakref import ref

from dal._sync.appends import Appends
from dal._sync.runner import Runner
from dal.appends import Append
from dal.batches import PATIENCE, Batch, Call
from dal.errors import DeadlineExceeded, StoreClosed
from dal.gathering import CLOSED, WAITED_TOO_LONG, Gathering, Taker
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
    """A thread of the writer's own, which sends one batch after the other, and ends with the writer.

    Or it stands in for the main thread, which a signal handler may interrupt, and the handler may close the writer.
    So nothing that others wait for is ever left to the main thread: no lock that it holds, no batch that it sends.
    """

    def __init__(self, writer: Writer) -> None:
        self._asleep = _asleep()
        self.batch: Batch | None = None
        """What it is to send."""
        self.stand_in: _StandIn | None = None
        """What it is to do for the main thread."""
        self.thread = Thread(target=_serve, args=(self, ref(writer)), name="session-dal writer", daemon=True)

    def wait(self, seconds: float = -1) -> None:
        """Wait for a batch to send."""
        self._asleep.acquire(timeout=seconds)

    def wake(self) -> None:
        """Have it take a batch."""
        _wake(self._asleep)

    def stand_in_for(self, call: _Waiting) -> None:
        """Have it make a call of the main thread's, which waits."""
        stand_in = self.stand_in = _StandIn(call)
        self.wake()
        stand_in.wait(self.thread)


class _StandIn:
    """An append of the main thread's, which a servant makes."""

    def __init__(self, call: _Waiting) -> None:
        self.call = call
        self.context = copy_context()
        self._ended = _asleep()

    def wait(self, thread: Thread) -> None:
        """Wait until the thread has made it, and leave it if that is interrupted."""
        try:
            while thread.is_alive():
                if self._ended.acquire(timeout=PATIENCE):
                    return
            if not self._ended.acquire(blocking=False):  # A signal handler closed the writer just before.
                self.call.error = StoreClosed(CLOSED)
        except BaseException:
            self.call.is_left = True
            raise

    def end(self) -> None:
        """Let the main thread go on."""
        self._ended.release()


def _asleep() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


def _wake(asleep: Lock) -> None:
    if asleep.locked():
        with suppress(RuntimeError):  # Another thread was first.
            asleep.release()


def _serve(servant: _Servant, writer: ref[Writer]) -> None:
    """The whole of a servant's thread. It does not hold a writer for which it has nothing to do."""
    alive: Writer | None
    while (alive := writer()) is not None and alive.serve(servant):
        del alive
        servant.wait()


class Writer(Appends):
    """Sends appends together.

    A caller sends each batch, so that no time is lost between threads; but when the server waits for the next one, a
    servant does, which knows first that the server waits: it has sent the last one.
    """

    def __init__(self, runner: Runner, *, batches: int, waiting: int) -> None:
        super().__init__(runner)
        self._gathering = Gathering(Lock(), self, batches)
        self._kept = runner.keep(lambda: self._gathering.has_more)
        self._room: SimpleQueue[None] = SimpleQueue()
        """As many as may still come: a semaphore that takes a tenth of the time of threading's."""
        for _ in repeat(None, waiting):
            self._room.put(None)
        self._servants: list[_Servant] = []
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
            servant = self._servant() if current_thread() is main_thread() else None
            if servant is None:
                self._take_part(call)
            else:
                servant.stand_in_for(call)
        finally:
            self._room.put(None)
        if call.error is not None:
            raise call.error

    def _take_part(self, call: _Waiting) -> None:
        """Wait for a call's end, and send batches meanwhile."""
        try:
            ahead = self._gathering.put(call)
            if ahead is not None:
                ahead.make_ready()
            while call.batch is not None or not (call.is_done or call.is_left):
                if call.batch is not None:
                    self._send(call, call.batch)
                elif self._gathering.asked is call:
                    self._take(call)
                elif not call.wait():
                    self._gathering.look()
            if call.is_left:
                self._leave(call)
        except BaseException as error:
            self._leave(call)
            if call.batch is not None:
                self._gathering.failed(call.batch, error)
            raise
        finally:
            if call.following is not None:
                call.following.wake()

    def _leave(self, call: Call) -> None:
        self._gathering.leave(call)
        self._kept.rest()

    def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was, for as long as an operation may take."""
        deadline = self._runner.deadline() or inf
        self._gathering.close()
        while self._gathering and monotonic() < deadline:
            sleep(0.001)
        self._is_closed = True
        for servant in self._servants:
            servant.wake()
        for servant in self._servants:
            servant.thread.join(None if deadline == inf else max(0.0, deadline - monotonic()))

    @property
    def length(self) -> int:
        """How many appends wait to be sent."""
        return self._gathering.length

    def __del__(self) -> None:
        self._is_closed = True
        for servant in self._servants:
            servant.wake()

    def ask(self, came: Call | None) -> Taker:
        """Have a servant take the batch, if the server waits for it; else who has come, or has waited the longest."""
        return came or (self._servant() if self._gathering.is_idle else None) or self._gathering.first

    def _servant(self) -> _Servant | None:
        """One that sends nothing: all others wait for what they have sent."""
        with suppress(IndexError):
            return self._idle.pop()
        servant = _Servant(self)
        self._servants.append(servant)
        try:
            servant.thread.start()
        except RuntimeError:  # The system, or a Python that ends, starts no more threads.
            self._servants.remove(servant)
            return None
        return servant

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

    def serve(self, servant: _Servant) -> bool:
        """Do what a servant was woken for; False if there is nothing more to come."""
        if servant.stand_in is not None:
            self._stand_in(servant, servant.stand_in)
        elif self._gathering.asked is servant:
            self._take(servant)
            if servant.batch is not None:
                self._send(servant, servant.batch)
            else:
                self._idle.append(servant)
        return not self._is_closed

    def _stand_in(self, servant: _Servant, stand_in: _StandIn) -> None:
        servant.stand_in = None
        try:
            stand_in.context.run(self._take_part, stand_in.call)
        except BaseException as error:  # noqa: BLE001 - it is the main thread's
            stand_in.call.error = error
        self._idle.append(servant)
        stand_in.end()

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
        appends = attempts.appends = batch.appends
        servant = taker if isinstance(taker, _Servant) else None
        error: BaseException | None = None
        try:
            if len(appends) == 1:
                super().send(appends[0], attempts)
            else:
                self.send_all(appends, attempts, batch.make_ready())
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
