"""New ids: ULIDs, for which threads do not wait for each other.

`ULID()` takes a lock that the whole process shares, and holds it while the system gives it random bytes. That lets
another thread run, which comes to the same lock: many who append at once queue up there.
"""

from __future__ import annotations

import os
from time import time_ns

from ulid import ULID

_BYTES, _AT_ONCE = 10, 256

_drawn: list[bytes] = []
"""Random bytes that no id has yet."""


def new_id() -> str:
    """Make an id that nobody else makes, and that sorts by the millisecond."""
    try:
        random = _drawn.pop()
    except IndexError:
        random, *more = _draw()
        _drawn.extend(more)
    return str(ULID((time_ns() // 1_000_000).to_bytes(6, "big") + random))


def _draw() -> list[bytes]:
    block = os.urandom(_BYTES * _AT_ONCE)
    return [block[start : start + _BYTES] for start in range(0, len(block), _BYTES)]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # Or both processes would give what was drawn.
