"""Writers in an open loop: appends are due at random times, whether or not earlier ones have returned."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg

import dal

_CONTENT = "What was said, at the length of a few lines, as most messages are. " * 4


class Writers:
    """Threads that append to random sessions at an average rate, until they are stopped."""

    def __init__(self, conninfo: str, options: str, session_ids: Sequence[str], *, rate: float, threads: int) -> None:
        self.durations: list[tuple[float, float]] = []
        """For each append, the time at which it was due, and the seconds from then until it returned."""
        self._random = random.Random(0)
        self._session_ids = session_ids
        self._rate = rate
        self._lock = threading.Lock()
        self._due = time.perf_counter()
        self._done = threading.Event()
        self._connections = [psycopg.connect(conninfo, autocommit=True, options=options) for _ in range(threads)]
        self._threads = ThreadPoolExecutor(threads)
        self._running = [self._threads.submit(self._write, connection) for connection in self._connections]

    def stop(self) -> None:
        """Stop the writers, and raise the error of the first that failed."""
        self._done.set()
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()
        for running in self._running:
            running.result()

    def during(self, windows: Sequence[tuple[float, float]]) -> list[float]:
        """Return the durations of the appends that were due within any of these windows."""
        return [seconds for due, seconds in self.durations if any(begun <= due < ended for begun, ended in windows)]

    def _write(self, connection: psycopg.Connection) -> None:
        store = dal.SessionStore(connection)
        while not self._done.is_set():
            due, session_id = self._next()
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            store.session(session_id).append("user", _CONTENT)
            self.durations.append((due, time.perf_counter() - due))

    def _next(self) -> tuple[float, str]:
        with self._lock:
            self._due += self._random.expovariate(self._rate)
            return self._due, self._random.choice(self._session_ids)
