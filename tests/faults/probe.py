"""One store, of either side, whose calls meet faults one at a time, while the crew writes on."""

import time
from itertools import count

from faults.writers import Call, Log

_generations = count()

WORKS_AGAIN = 5.0
"""Seconds after a fault within which a call succeeds."""


class Focus:
    """Calls that are put down as the crew's are, in sessions of their own."""

    def __init__(self, crew, fault, *, timeout):
        self.crew, self.fault, self.timeout = crew, fault, timeout
        self.generation = f"focus{next(_generations)}"
        self._log = Log(crew.folder, self.generation)
        self._numbers = count()
        self.injected = self._checked = 0
        self.late = 0.0
        self.foreign = None
        """Messages of another user that a confined store returned, if one was asked."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        self._log.close()
        if kind is None:
            self.crew.after(self.fault, 0)
            with self.crew.harness() as connection:
                figures = {"late": self.late, "foreign": self.foreign}
                self.crew.check(connection, self.fault, self.generation, self.injected, **figures)
            assert not self.foreign, f"{self.fault}: {self.foreign} messages of other users were read"

    def call(self, messages=1, *, session=0, ids=False):
        """Give the next call, of so many messages; with ids of its own or with the store's."""
        if self.injected >= self._checked + 50:
            self._checked = self.injected
            self.crew.after(self.fault, 0)
        keys = [f"{self.generation}.{next(self._numbers):05}" for _ in range(messages)]
        given = [f"id-{key}" for key in keys] if ids else None
        return Call(self._log, f"{self.generation}-{session}", keys, given, timeout=self.timeout)

    def calls_of(self, name, count):
        """Give so many calls of another process or thread, with a log and keys of its own, to sessions of all."""
        log = Log(self.crew.folder, f"{self.generation}.{name}")
        for n in range(count):
            yield Call(log, f"{self.generation}-{n % 3}", [self._key(name, n)], timeout=self.timeout)

    def calls_of_user(self, name, count):
        """Give so many calls to a session of this user's own."""
        log = Log(self.crew.folder, f"{self.generation}.{name}.own")
        for n in range(count):
            yield Call(log, f"{self.generation}-of.{name}", [self._key(f"{name}.own", n)], timeout=self.timeout)

    def _key(self, name, n):
        return f"{self.generation}.{name}.{n:05}"

    def foreign_of(self, name, messages):
        """Count the messages that are not this user's own."""
        return sum(not message.content.startswith(f"{self.generation}.{name}.own.") for message in messages)

    def once(self, store, call):
        """Make a call, which may fail."""
        with call:
            call.acknowledged(call.send(store))
        self.late = max(self.late, call.late)

    async def once_async(self, store, call):
        with call:
            call.acknowledged(await call.send(store))
        self.late = max(self.late, call.late)

    def do(self, store, call):
        """Make a call; if it fails, again with the same ids, as its error asks for, until it works, and soon it must.

        On a busy machine a deadline of 0.3 s may end the next attempt too, without a fault.
        """
        self.once(store, call)
        ends = time.monotonic() + WORKS_AGAIN
        while call.error is not None and (again := call.again) is not None:
            self.once(store, again)
            if again.error is not None and time.monotonic() > ends:
                raise again.error
            call = again
        return call
