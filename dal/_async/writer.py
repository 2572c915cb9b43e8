"""A writer: what many tasks append goes together. Its synchronous twin is written by hand: there a caller sends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import nullcontext
from math import inf
from time import monotonic
from typing import Any

from dal._async.appends import AsyncAppends
from dal._async.runner import AsyncRunner
from dal.appends import Append
from dal.batches import PATIENCE, Batch, Call
from dal.errors import DeadlineExceeded
from dal.gathering import WAITED_TOO_LONG, Gathering
from dal.retries import Attempts


class _Waiting(Call):
    """A call that a task waits for."""

    __slots__ = ("_ended",)

    def __init__(self, append: Append, deadline: float | None) -> None:
        super().__init__(append, deadline)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Wait for its end."""
        await self._ended

    def wake(self) -> None:
        """Wake its task, if that was not cancelled."""
        if not self._ended.done():
            self._ended.set_result(None)


class _Turn:
    """What a task takes a batch by. It begins when all have come who can go on at this moment."""

    batch: Batch | None = None

    def wake(self) -> None:
        """Nobody waits for more."""


class AsyncWriter(AsyncAppends):
    """Sends appends together. A task of its own sends each batch, so that no caller who is cancelled ends it."""

    def __init__(self, runner: AsyncRunner, *, batches: int, waiting: int) -> None:
        super().__init__(runner)
        self._gathering = Gathering(nullcontext(), self, batches)
        self._kept = runner.keep(lambda: self._gathering.has_more)
        self._room = asyncio.Semaphore(waiting)
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks: asyncio.TimerHandle | None = None

    async def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store what it has, with what others have, and put down what became of it."""
        deadline = attempts.deadline if attempts is not None else self._runner.deadline()
        if self._room.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._room.acquire()
            except TimeoutError:
                raise DeadlineExceeded(WAITED_TOO_LONG, query=append.query) from None
        else:
            await self._room.acquire()
        try:
            call = _Waiting(append, deadline)
            ahead = self._gathering.put(call)
            if ahead is not None:
                ahead.make_ready()
            try:
                if call.batch is not None:  # It came alone.
                    await self._send(call.batch)
                await call.wait()
            except asyncio.CancelledError:
                self._gathering.leave(call)
                raise
            if call.error is not None:
                raise call.error
        finally:
            self._room.release()

    async def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was, for as long as an operation may take."""
        deadline = self._runner.deadline() or inf
        self._gathering.close()
        while self._gathering and monotonic() < deadline:  # noqa: ASYNC110 - what ends last is known in hindsight alone
            await asyncio.sleep(0.001)
        if self._looks is not None:
            self._looks.cancel()
        await self._kept.rest()

    @property
    def length(self) -> int:
        """How many appends wait to be sent."""
        return self._gathering.length

    def ask(self, _: Call | None) -> _Turn:
        """Take the batch in a task of its own, so that no caller who is cancelled ends what others wait for."""
        turn = _Turn()
        self._begin(self._serve(turn))
        return turn

    def start(self, batch: Batch) -> None:
        """Send a batch in a task of its own."""
        self._begin(self._send(batch))

    def wake(self, calls: Sequence[Call]) -> None:
        """Wake each of them."""
        for call in calls:
            call.wake()

    def look_later(self) -> None:
        """Look once, however many wait."""
        if self._looks is None:
            self._looks = asyncio.get_running_loop().call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._looks = None
        self._gathering.look()

    def _begin(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(sending)
        self._tasks.add(task)  # The loop itself does not hold it.
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, turn: _Turn) -> None:
        self._gathering.take(turn)
        if turn.batch is not None:
            await self._send(turn.batch)
        else:
            await self._kept.rest()

    async def _send(self, batch: Batch) -> None:
        attempts = self._runner.attempts(batch.deadline, unknown=batch.is_unknown, source=self._kept)
        appends = attempts.appends = batch.appends
        try:
            if len(appends) == 1:
                await super().send(appends[0], attempts)
            else:
                await self.send_all(appends, attempts, batch.make_ready())
        except BaseException as error:
            self._gathering.failed(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._gathering.sent(batch)
