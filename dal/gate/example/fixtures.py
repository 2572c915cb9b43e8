"""Data of any size for the queries, and the parameters of the calls."""

from pathlib import Path

import aiosql

data = aiosql.from_path(Path(__file__).parent / "grow.sql", "psycopg")


def grow(connection, axis, before, size):
    """Grow the list to `size` tasks, a third of them done. Another list has a thousand tasks."""
    if axis not in {"the list's tasks", "the standard data"}:
        raise LookupError(f"unknown axis {axis!r}")
    if before == 0:
        data.grow(connection, list_id="another", tasks=1000)
    data.grow(connection, list_id="mine", tasks=size - before)


def parameters(query, axis, size, turn):
    """Return the parameters of a call: a new title each turn, and a task or a page from the middle."""
    return {
        "add": {"list_id": "mine", "title": f"number {turn}"},
        "finish": {"task_id": 1000 + size // 2},
        "open_tasks": {"list_id": "mine", "after": 1000 + size // 2},
    }[query]


def largest(axis):
    """Return the largest size for --large."""
    return 1_000_000
