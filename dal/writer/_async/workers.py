"""How a writer waits and works in an event loop. The synchronous twin is written by hand: it has threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext
from typing import Any

from dal.appends import Append
from dal.writer.batch import Batch, Call
from dal.writer.queue import Queue

Mutex = nullcontext
"""The lock of a queue: the tasks of one loop need none."""


class AsyncWaiting(Call):
    """A call that a task waits for."""

    __slots__ = ("_woken",)

    def __init__(self, append: Append, deadline: float | None) -> None:
        super().__init__(append, deadline)
        self._woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Wait until the call has ended, or is to be sent by its caller."""
        await self._woken
        self._woken = self._woken.get_loop().create_future()

    def wake(self) -> None:
        """Wake the task, unless it was cancelled."""
        if not self._woken.done():
            self._woken.set_result(None)


class AsyncRoom(asyncio.Semaphore):
    """The room for waiting calls."""

    async def enter(self, deadline: float | None) -> bool:
        """Take a place; return False if none was free by the deadline."""
        if not self.locked():
            return await self.acquire()
        try:
            async with asyncio.timeout_at(deadline):
                return await self.acquire()
        except TimeoutError:
            return False


class AsyncWorkers:
    """The tasks that send batches."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, send: Callable[[Batch | None], Coroutine[Any, Any, None]], batch: Batch) -> None:
        """Send a batch in a task of its own."""
        task = asyncio.create_task(send(batch))
        self.tasks.add(task)  # The loop itself does not hold it.
        task.add_done_callback(self.tasks.discard)

    async def shield(self, wait: Callable[[Any], Awaitable[None]], call: Call) -> None:
        """Wait for a call: nothing interrupts a task between two awaits."""
        await wait(call)

    def close(self, deadline: float) -> None:
        """Do nothing: each task ends by itself."""


async def await_callers(queue: Queue) -> None:
    """Let woken callers call again before an incomplete batch is sent: else 8 tasks had 0.66 times the throughput."""
    if not queue.is_complete:
        await asyncio.sleep(0)
