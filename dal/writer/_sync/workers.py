"""Waiting for calls and sending batches with threads. The asynchronous side is written by hand: it uses tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread, main_thread
from time import monotonic, sleep
from typing import Any

from dal.appends import Append
from dal.errors import StoreClosed
from dal.writer.batch import Batch, Call
from dal.writer.queue import CLOSED, Queue

Mutex = Lock
"""The lock of a queue."""

_PAUSE, _PAUSES = 0.0001, 5
"""Seconds that a batch waits for woken callers, and how often. Without that, 8 threads had 0.7 times the throughput."""

_POLL = 0.1
"""Seconds between two checks that a worker is alive."""


def _locked() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


class WaitingCall(Call):
    """A call that a thread waits for."""

    __slots__ = ("_asleep",)

    def __init__(self, append: Append, deadline: float | None) -> None:
        super().__init__(append, deadline)
        self._asleep = _locked()

    def wait(self) -> None:
        """Wait until the call has ended or its caller is to send it."""
        self._asleep.acquire()
        if self.is_abandoned:
            raise StoreClosed(CLOSED)

    def wake(self) -> None:
        """Wake the thread."""
        with suppress(RuntimeError):  # It is awake already.
            self._asleep.release()


class Slots:
    """A slot for each call that may wait at the same time: backpressure. It takes a tenth of a semaphore's time."""

    def __init__(self, waiting: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(waiting):
            self._free.put(None)

    def acquire_by(self, deadline: float | None) -> bool:
        """Take a slot; return False if none is free by the deadline."""
        try:
            self._free.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
        except Empty:
            return False
        return True

    def release(self) -> None:
        """Free a slot."""
        self._free.put(None)


class _WorkerThread:
    """A thread that runs tasks until it gets None. While idle it refers to no writer, which can then be collected."""

    def __init__(self, idle: deque[_WorkerThread]) -> None:
        self._idle = idle
        self.tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = Thread(target=self._work, name="session-dal writer", daemon=True)

    def _work(self) -> None:
        while (task := self.tasks.get()) is not None:
            with suppress(BaseException):  # The callers of a batch raise its error.
                task()
            del task
            self._idle.append(self)


class Workers:
    """The threads that send batches. Each is started when it is needed, and ends with the writer."""

    def __init__(self) -> None:
        self._idle: deque[_WorkerThread] = deque()
        self._all: list[_WorkerThread] = []

    def start(self, send: Callable[[Batch | None], None], batch: Batch) -> None:
        """Send a batch in a worker thread, or in this thread if no other can be started."""
        if self._run(partial(send, batch)) is None:
            send(batch)

    def shield(self, wait: Callable[[Any], None], call: Call) -> None:
        """Wait for a call. In the main thread, a worker does so, and the main thread waits for the worker.

        A signal handler may interrupt the main thread anywhere, and may close the writer. So the main thread must not
        hold a lock that other threads need, and must not send their calls.
        """
        ended = _locked()

        def wait_here() -> None:
            wait(call)
            ended.release()

        worker = self._run(wait_here) if current_thread() is main_thread() else None
        if worker is None:
            wait(call)
            return
        try:
            while worker.thread.is_alive():
                if ended.acquire(timeout=_POLL):
                    return
            if not ended.acquire(blocking=False):  # A signal handler closed the writer just before.
                call.error = StoreClosed(CLOSED)
        except BaseException:
            call.is_abandoned = True
            call.wake()
            raise

    def _run(self, task: Callable[[], None]) -> _WorkerThread | None:
        """Run a task in an idle or a new thread; return None if no thread can be started, as when Python exits."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _WorkerThread(self._idle)
            self._all.append(worker)
            try:
                worker.thread.start()
            except RuntimeError:
                self._all.remove(worker)
                return None
        worker.tasks.put(task)
        return worker

    def close(self, deadline: float) -> None:
        """End the threads, and wait for them until the deadline."""
        self._end()
        for worker in self._all:
            with suppress(RuntimeError):  # Not started yet, by the thread that this signal handler interrupts.
                worker.thread.join(None if deadline == inf else max(0.0, deadline - monotonic()))

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._all:
            worker.tasks.put(None)


def await_callers(queue: Queue) -> None:
    """Let callers that were just woken join this batch."""
    for _ in range(_PAUSES):
        if queue.is_complete:
            return
        sleep(_PAUSE)
