"""Calls at the same time, in tasks. The synchronous twin is written by hand: it uses threads."""

from __future__ import annotations

from asyncio import TaskGroup
from collections.abc import Callable, Coroutine, Sequence
from typing import Any


async def run_all(calls: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Make all calls at the same time, and wait for them."""
    async with TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(call())
