"""New ids: ULIDs, for which threads do not wait for each other.

`ULID()` takes a lock that the whole process shares, and holds it while the system gives it random bytes. That lets
another thread run, which comes to the same lock: many who append at once queue up there.
"""

from __future__ import annotations

import os
from time import time_ns

from ulid import base32, constants

_AT_ONCE = 256

_DIGITS = bytes(base32.ENCODE.encode()[byte % 32] for byte in range(256))
"""The digit that a random byte gives: each of the 32 as often as the others."""

_drawn: dict[int, list[str]] = {}
"""Random digits that no id has yet, of this process: by its pid, since a fork copies them, and may run no hooks."""

_moment = 0, ""
"""The last millisecond that an id was made in, and its digits."""


def new_id() -> str:
    """Make an id that nobody else makes, and that sorts by the millisecond."""
    global _moment  # noqa: PLW0603 - threads may both write it, and each has its own meanwhile
    now = time_ns() // 1_000_000
    then, digits = _moment
    if then != now:
        digits = base32.encode_timestamp(now.to_bytes(constants.TIMESTAMP_LEN, "big"))
        _moment = now, digits
    process = os.getpid()
    try:
        return digits + _drawn[process].pop()
    except (KeyError, IndexError):
        random, *_drawn[process] = _draw()
        return digits + random


def _draw() -> list[str]:
    length = constants.RANDOMNESS_REPR_LEN
    digits = os.urandom(length * _AT_ONCE).translate(_DIGITS).decode()
    return [digits[start : start + length] for start in range(0, len(digits), length)]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # Its pid may be that of an ancestor that has ended.
