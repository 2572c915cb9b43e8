"""Lists of any length, and the parameters of the calls."""

from pathlib import Path

import aiosql

data = aiosql.from_path(Path(__file__).parent / "grow.sql", "psycopg")


def grow(connection, axis, before, size):
    """Let the list hold `size` tasks, a third of them done; there are a thousand tasks of other lists too."""
    if axis not in {"the list's tasks", "the standard data"}:
        raise LookupError(f"nothing grows along {axis!r}")
    if before == 0:
        data.grow(connection, list_id="another", tasks=1000)
    data.grow(connection, list_id="mine", tasks=size - before)


def parameters(query, axis, size, turn):
    """A call: a new title each turn, a task from the middle, a page from the middle."""
    return {
        "add": {"list_id": "mine", "title": f"number {turn}"},
        "finish": {"task_id": 1000 + size // 2},
        "open_tasks": {"list_id": "mine", "after": 1000 + size // 2},
    }[query]


def largest(axis):
    """How far the list can grow with --large."""
    return 1_000_000
