"""Other gates on the same database. Their snapshots keep dead row versions, which raise the figures of this one.

Gates measure at the same time. If a promise then seems broken, its query is measured again while no other gate
measures. Each gate holds a shared lock, the room, and takes it alone for that. Another lock, the door, keeps further
gates out of the room while one waits to be alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from typing import Any

import psycopg

from dal.gate.measure.sql import statements

_ROOM, _DOOR = (int.from_bytes(name, "big") for name in (b"dal room", b"dal door"))
"""The keys of the two advisory locks."""

_A_MOMENT = 0.05


class Neighbours:
    """Lets a gate measure beside others, or alone. It needs a connection of its own, which holds the locks."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Measure at the same time as others."""
        with self._locked(_ROOM, statements.try_lock_shared, statements.unlock_shared, behind_door=True):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other gate measures, and keep the others out."""
        alone = statements.try_lock, statements.unlock
        with self._locked(_DOOR, *alone), self._locked(_ROOM, *alone):
            yield

    @contextmanager
    def _locked(
        self, key: int, lock: Callable[..., Any], unlock: Callable[..., Any], *, behind_door: bool = False
    ) -> Iterator[None]:
        # A statement that waits for a lock would hold a snapshot.
        while not self._try(key, lock, behind_door=behind_door):
            sleep(_A_MOMENT)
        try:
            yield
        finally:
            unlock(self._connection, key=key)

    def _try(self, key: int, lock: Callable[..., Any], *, behind_door: bool) -> bool:
        if not behind_door:
            return bool(lock(self._connection, key=key)[0])
        if not statements.try_lock_shared(self._connection, key=_DOOR)[0]:
            return False
        try:
            return bool(lock(self._connection, key=key)[0])
        finally:
            statements.unlock_shared(self._connection, key=_DOOR)
