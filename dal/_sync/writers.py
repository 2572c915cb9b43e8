# Generated from dal/_async/writers.py by .ci/async_to_sync.py: change that file, and run it.
"""A writer in every process and event loop that uses it."""

from __future__ import annotations

from functools import partial

from dal._sync.appends import Appends
from dal._sync.per_scope import PerScope
from dal._sync.runner import Runner
from dal._sync.writer import Writer
from dal.appends import Append
from dal.retries import Attempts


class Writers(Appends):
    """Sends appends together with those of the same process and event loop, on whose pool they go."""

    def __init__(self, runner: Runner, *, batches: int, waiting: int) -> None:
        super().__init__(runner)
        self._writers = PerScope("writer", partial(Writer, runner, batches=batches, waiting=waiting))
        runner.watch.queues.add(self)

    @property
    def here(self) -> Writer:
        """The writer of this process and event loop."""
        return self._writers.get()

    def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store what it has, with what others have, and put down what became of it."""
        watch = self._runner.watch
        if not watch:
            self.here.send(append, attempts)
            return
        attempts = attempts or self._runner.attempts()
        with watch.queued(append, attempts):
            self.here.send(append, attempts)

    @property
    def length(self) -> int:
        """How many appends wait to be sent, in all event loops of this process."""
        return sum(writer.length for writer in self._writers.all())

    def close(self) -> None:
        """Take nothing more in, and wait until all has ended that was."""
        self._writers.close()
