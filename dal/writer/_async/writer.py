"""The writer: sends the appends of many callers in batches."""

from __future__ import annotations

from asyncio import sleep
from math import inf
from time import monotonic

from dal._async.appending import AsyncAppends
from dal._async.per_scope import AsyncPerScope
from dal._async.runner import AsyncRunner
from dal._async.sources import AsyncSticky
from dal.appends import Append
from dal.errors import DeadlineExceeded
from dal.retries import Attempts
from dal.writer._async.workers import AsyncSlots, AsyncWaitingCall, AsyncWorkers, Mutex, await_callers
from dal.writer.batch import PATIENCE, WAITED_TOO_LONG, Batch
from dal.writer.queue import Queue


class AsyncBatcher(AsyncAppends):
    """Sends the appends of one event loop in batches. Workers send them, so that cancelling a caller fails no other.

    On a cluster, each shard has a batcher of its own, so that a worker that is slow or has failed delays only the
    appends to its own sessions.
    """

    def __init__(self, runner: AsyncRunner, slots: AsyncSlots, workers: AsyncWorkers) -> None:
        super().__init__(runner)
        self._queue = Queue(Mutex())
        self._slots = slots
        self._workers = workers
        self._sticky = AsyncSticky(runner.source, lambda: self._queue.waiting > 0)
        self._of_shards: dict[int, AsyncBatcher] = {}

    def of(self, session_id: str) -> AsyncBatcher:
        """Return the batcher for a session: that of its shard, or this one if it has calls to the session."""
        shard = self._runner.schema.shard_of(session_id)
        if shard is None or session_id in self._queue:
            return self
        batcher = self._of_shards.get(shard)
        if batcher is None:
            made = AsyncBatcher(self._runner, self._slots, self._workers)
            batcher = self._of_shards.setdefault(shard, made)
        return self if self._queue.is_closed else batcher

    @property
    def length(self) -> int:
        """Return how many appends are queued."""
        return self._queue.waiting + sum(one.length for one in list(self._of_shards.values()))

    async def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store an append, in a batch with others if there are any."""
        deadline = attempts.deadline if attempts is not None else self._runner.deadline()
        if not await self._slots.acquire_by(deadline):
            raise DeadlineExceeded(WAITED_TOO_LONG, query=append.query)
        try:
            call = AsyncWaitingCall(append, deadline)
            await self._workers.shield(self._wait, call)
        finally:
            self._slots.release()
        if call.error is not None:
            raise call.error

    async def _wait(self, call: AsyncWaitingCall) -> None:
        """Queue a call and wait until it has ended; send it if the queue says so."""
        try:
            self._start(self._queue.put(call))
            while not call.is_done:
                if call.batch is not None:
                    self._start(await self._send(call.batch))
                else:
                    await call.wait()
        except BaseException as error:  # noqa: BLE001 - its caller raises it
            self._queue.leave(call)
            if call.batch is not None:
                self._start(self._queue.finish(call.batch, error))
            call.error = error

    async def close(self) -> None:
        """Refuse new appends, and wait for the queued ones, at most for the store's timeout."""
        deadline = self._runner.deadline() or inf
        self.refuse()
        while self.is_busy and monotonic() < deadline:  # noqa: ASYNC110 - no single event marks the end
            await sleep(0.001)
        self._workers.close(deadline)
        await self.release()

    def refuse(self) -> None:
        """Refuse new appends."""
        self._queue.close()
        for one in list(self._of_shards.values()):
            one.refuse()

    @property
    def is_busy(self) -> bool:
        """True if an append is queued, or was sent and has no reply yet."""
        return bool(self._queue) or any(one.is_busy for one in list(self._of_shards.values()))

    async def release(self) -> None:
        """Return kept connections."""
        await self._sticky.release()
        for one in list(self._of_shards.values()):
            await one.release()

    def _start(self, batch: Batch | None) -> None:
        if batch is not None:
            self._workers.start(self._send_on, batch)

    async def _send_on(self, batch: Batch | None) -> None:
        """Send a batch, and then the next ones as long as there are any."""
        while batch is not None:
            batch = await self._send(batch)

    async def _send(self, batch: Batch) -> Batch | None:
        """Send a batch, end its calls, and return the next one."""
        error: BaseException | None = None
        try:
            if not batch.calls:
                await await_callers(self._queue)
                self._queue.fill(batch)
            if batch.calls:
                await self._transmit(batch)
        except BaseException as raised:  # noqa: BLE001 - the calls of the batch end with it
            error = raised
        following = self._queue.finish(batch, error)
        if error is not None and not isinstance(error, Exception):
            self._start(following)
            raise error
        if following is None:
            await self._sticky.release()
        return following

    async def _transmit(self, batch: Batch) -> None:
        attempts = self._runner.attempts(batch.deadline, unknown=batch.calls[0].is_unknown, source=self._sticky)
        appends = attempts.appends = [call.append for call in batch.calls]
        if batch.calls[0].batch is batch:
            await super().send(appends[0], attempts)
        else:
            await self.send_all(appends, attempts, patience=PATIENCE)


class AsyncWriter(AsyncAppends):
    """Sends appends in batches, with a batcher for each process and event loop, and on a cluster for each shard."""

    def __init__(self, runner: AsyncRunner, *, waiting: int) -> None:
        super().__init__(runner)
        self._batchers = AsyncPerScope("writer", lambda: AsyncBatcher(runner, AsyncSlots(waiting), AsyncWorkers()))
        runner.observer.queues.add(self)

    @property
    def here(self) -> AsyncBatcher:
        """Return the batcher of this process and event loop."""
        return self._batchers.get()

    async def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store an append, in a batch with others if there are any."""
        observer = self._runner.observer
        if not observer:
            await self.here.of(append.session_id).send(append, attempts)
            return
        attempts = attempts or self._runner.attempts()
        with observer.queued(append, attempts):
            await self.here.of(append.session_id).send(append, attempts)

    @property
    def length(self) -> int:
        """Return how many appends are queued, in all event loops of this process."""
        return sum(batcher.length for batcher in self._batchers.all())

    async def close(self) -> None:
        """Refuse new appends, and wait for the queued ones."""
        await self._batchers.close()
