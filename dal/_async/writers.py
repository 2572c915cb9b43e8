"""A writer in every process and event loop that uses it."""

from __future__ import annotations

from functools import partial

from dal._async.appends import AsyncAppends
from dal._async.per_scope import AsyncPerScope
from dal._async.runner import AsyncRunner
from dal._async.writer import AsyncWriter
from dal.appends import Append
from dal.retries import Attempts


class AsyncWriters(AsyncAppends):
    """Sends appends together with those of the same process and event loop, on whose pool they go."""

    def __init__(self, runner: AsyncRunner, *, batches: int, waiting: int) -> None:
        super().__init__(runner)
        self._writers = AsyncPerScope("writer", partial(AsyncWriter, runner, batches=batches, waiting=waiting))
        runner.watch.queues.add(self)

    @property
    def here(self) -> AsyncWriter:
        """The writer of this process and event loop."""
        return self._writers.get()

    async def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store what it has, with what others have, and put down what became of it."""
        watch = self._runner.watch
        if not watch:
            await self.here.send(append, attempts)
            return
        attempts = attempts or self._runner.attempts()
        with watch.queued(append, attempts):
            await self.here.send(append, attempts)

    @property
    def length(self) -> int:
        """How many appends wait to be sent, in all event loops of this process."""
        return sum(writer.length for writer in self._writers.all())

    async def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was."""
        await self._writers.close()
