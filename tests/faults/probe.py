"""A probe: calls on one store, with a fault injected into each, while the fleet writes."""

import random
import threading
import time
from contextlib import closing, contextmanager
from itertools import count

import dal
from faults.calls import Append, Log
from faults.load import APPENDED, EDITED, Own, Shared

_generations = count()

CHANGES = [
    *[("appended", method) for method in ("append", "annotate", "update_metadata")],
    *[("edited", method) for method in ("append", "append_if_next", "redact", "fork", "replace_from", "remove_last")],
    *[("own", method) for method in ("append", "trash", "append", "restore", "delete", "append", "create")],
    *[("own", method) for method in ("append", "erase_user", "append", "create")],
]
"""Every method that changes a session, in an order in which each finds something to change."""

WORKS_AGAIN = 30.0
"""Seconds after a fault within which a call succeeds."""


class Probe:
    """Calls that are logged like the fleet's, in their own sessions."""

    def __init__(self, fleet, fault, *, timeout):
        self.fleet, self.fault, self.timeout = fleet, fault, timeout
        self.generation = f"probe{next(_generations)}"
        self._log = Log(fleet.folder, self.generation)
        options = {"chance": random.Random(1), "timeout": timeout}
        self.appended = Shared(self._log, [f"{self.generation}-appended"], shares=APPENDED, **options)
        self.edited = Shared(self._log, [f"{self.generation}-edited"], shares=EDITED, **options)
        self.own = Own(self._log, f"{self.generation}-own", **options)
        self.injected = self._checked = 0
        self.late = 0.0
        self.foreign = None
        """The number of other users' messages that a confined store returned; None if none was used."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        self._log.close()
        if kind is None:
            self.fleet.check_recovery(self.fault, 0)
            with self.fleet.harness() as connection:
                figures = {"late": self.late, "foreign": self.foreign}
                self.fleet.check(connection, self.fault, self.generation, self.injected, **figures)
            assert not self.foreign, f"{self.fault}: {self.foreign} messages of other users were read"

    def call(self, messages=1, *, session=0, ids=False):
        """Return the next call, with `messages` messages; `ids` gives them their own ids."""
        if self.injected >= self._checked + 50:
            self._checked = self.injected
            self.fleet.check_recovery(self.fault, 0)
        keys = [self._log.new_key() for _ in range(messages)]
        ids_of_keys = [f"id-{key}" for key in keys] if ids else None
        return Append(self._log, f"{self.generation}-{session}", keys, ids_of_keys, timeout=self.timeout)

    def change(self, part, method):
        """Return a call of a method to one of the sessions that CHANGES names."""
        return getattr(self, part).make(method)

    @contextmanager
    def rival(self):
        """Keep changing the same metadata in another thread.

        Without that, a change that is applied twice would change nothing the second time, and the test would miss it.
        """
        ended = threading.Event()

        def run():
            with dal.SessionStore.connect(**self.fleet.settings("rival")) as store:
                while not ended.wait(0.002):
                    for method in ("annotate", "update_metadata"):
                        self.send(store, self.change("appended", method))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def calls_of(self, name, count):
        """Yield calls to shared sessions for another process or thread, with a log and keys of its own."""
        with closing(Log(self.fleet.folder, f"{self.generation}.{name}")) as log:
            for n in range(count):
                yield Append(log, f"{self.generation}-{n % 3}", [self._key(name, n)], timeout=self.timeout)

    def calls_of_user(self, name, count):
        """Yield calls to a session of the user with this name."""
        with closing(Log(self.fleet.folder, f"{self.generation}.{name}.own")) as log:
            for n in range(count):
                yield Append(log, f"{self.generation}-of.{name}", [self._key(f"{name}.own", n)], timeout=self.timeout)

    def _key(self, name, n):
        return f"{self.generation}.{name}.{n:05}"

    def count_foreign(self, name, messages):
        """Count the messages of other users."""
        return sum(not message.content.startswith(f"{self.generation}.{name}.own.") for message in messages)

    def send(self, store, call):
        """Send a call, which may fail."""
        with call:
            call.acknowledged(call.send(store))
        self.late = max(self.late, call.late)

    async def send_async(self, store, call):
        with call:
            call.acknowledged(await call.send(store))
        self.late = max(self.late, call.late)

    def retry(self, store, call):
        """Send a call; resend it with the same ids until it succeeds, for at most WORKS_AGAIN seconds.

        On a busy machine, a call may miss a deadline of 0.3 s without a fault.
        """
        self.send(store, call)
        deadline = time.monotonic() + WORKS_AGAIN
        while call.outcome in {"unknown", "refused"} and (again := call.repeated) is not None:
            self.send(store, again)
            if again.error is not None and time.monotonic() > deadline:
                raise again.error
            call = again
        return call
