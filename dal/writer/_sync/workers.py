"""How a writer waits and works in threads. The asynchronous twin is written by hand: it has tasks."""

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
from dal.writer.batch import PATIENCE, Batch, Call
from dal.writer.queue import CLOSED, Queue

Mutex = Lock
"""The lock of a queue."""

_PAUSE, _PAUSES = 0.0001, 5
"""Seconds, and how often a batch waits for woken callers. Without that, 8 threads had 0.7 times the throughput."""


def _locked() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


class Waiting(Call):
    """A call that a thread waits for."""

    __slots__ = ("_asleep",)

    def __init__(self, append: Append, deadline: float | None) -> None:
        super().__init__(append, deadline)
        self._asleep = _locked()

    def wait(self) -> None:
        """Wait until the call has ended, or is to be sent by its caller."""
        self._asleep.acquire()
        if self.is_left:
            raise StoreClosed(CLOSED)

    def wake(self) -> None:
        """Wake the thread."""
        with suppress(RuntimeError):  # It is awake.
            self._asleep.release()


class Room:
    """The room for waiting calls: a semaphore that takes a tenth of the time of threading's."""

    def __init__(self, waiting: int) -> None:
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(waiting):
            self._places.put(None)

    def enter(self, deadline: float | None) -> bool:
        """Take a place; return False if none was free by the deadline."""
        try:
            self._places.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
        except Empty:
            return False
        return True

    def release(self) -> None:
        """Give the place to another."""
        self._places.put(None)


class _Worker:
    """A thread that runs one task after the other, until it is given None. It holds no writer while it has no task."""

    def __init__(self, idle: deque[_Worker]) -> None:
        self._idle = idle
        self.tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.thread = Thread(target=self._work, name="session-dal writer", daemon=True)

    def _work(self) -> None:
        while (task := self.tasks.get()) is not None:
            with suppress(BaseException):  # Its callers raise it.
                task()
            del task
            self._idle.append(self)


class Workers:
    """The threads that send batches. They are started when they are needed, and end with the writer."""

    def __init__(self) -> None:
        self._idle: deque[_Worker] = deque()
        self._all: list[_Worker] = []

    def start(self, send: Callable[[Batch | None], None], batch: Batch) -> None:
        """Send a batch in another thread, or here if there can be no other."""
        if self._run(partial(send, batch)) is None:
            send(batch)

    def shield(self, wait: Callable[[Any], None], call: Call) -> None:
        """Wait for a call. The main thread has a worker do that, and leaves it if it is interrupted.

        A signal handler may interrupt the main thread anywhere, and may close the writer. So the main thread never
        holds a lock that others need, and never sends what others wait for.
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
                if ended.acquire(timeout=PATIENCE):
                    return
            if not ended.acquire(blocking=False):  # A signal handler closed the writer just before.
                call.error = StoreClosed(CLOSED)
        except BaseException:
            call.is_left = True
            call.wake()
            raise

    def _run(self, task: Callable[[], None]) -> _Worker | None:
        """Run a task in an idle thread, or a new one; return None if the system, or a Python that ends, starts none."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self._idle)
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
            with suppress(RuntimeError):  # It was about to be started, by the thread that a signal handler interrupts.
                worker.thread.join(None if deadline == inf else max(0.0, deadline - monotonic()))

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._all:
            worker.tasks.put(None)


def await_callers(queue: Queue) -> None:
    """Give the callers that were just woken time to make their next calls, if these would be in the next batch."""
    for _ in range(_PAUSES):
        if queue.is_complete:
            return
        sleep(_PAUSE)
