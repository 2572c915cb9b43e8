"""A pipeline: what many tasks ask for at once goes on one connection. Its synchronous twin is written by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from dal._async.pipelining import MOST, AsyncOperation, AsyncPipelining
from dal._async.queries import AsyncQuery
from dal.retries import Attempts


class _Waiting(AsyncOperation):
    """An operation that a task waits for."""

    __slots__ = ("ended",)

    def __init__(self, query: AsyncQuery, parameters: dict[str, Any], attempts: Attempts) -> None:
        super().__init__(query, parameters, attempts)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class AsyncPipeline(AsyncPipelining):
    """Sends together what came while the last ones were on their way, in a task that no caller's end cancels."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    async def _attempt(self, query: AsyncQuery, parameters: dict[str, Any], attempts: Attempts) -> Any:
        if not query.repeatable:
            return await super()._attempt(query, parameters, attempts)
        operation = _Waiting(query, parameters, attempts)
        self._waiting.append(operation)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        await operation.ended
        if operation.error is not None:
            raise operation.error
        if operation.is_alone:
            return await super()._attempt(query, parameters, attempts)
        return operation.rows

    async def _send_all(self) -> None:
        """Send what waits, until nothing does."""
        try:
            while self._waiting:
                operations, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self.send(operations)
                for operation in operations:
                    if not operation.ended.done():  # By its task, which was cancelled.
                        operation.ended.set_result(None)
        finally:
            self._sending = None
