"""A pipeline: what many threads ask for at once goes on one connection. Its asynchronous twin is written by hand."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import Any

import psycopg

from dal._sync.pipelining import MOST, Operation, Pipelining
from dal._sync.queries import Query
from dal.retries import Attempts


class _Waiting(Operation):
    """An operation that a thread waits for. It is taken once, whatever interrupts whom."""

    __slots__ = ("has_ended", "is_taken")

    def __init__(self, query: Query, parameters: dict[str, Any], attempts: Attempts) -> None:
        super().__init__(query, parameters, attempts)
        self.is_taken = False
        self.has_ended = False


class Pipeline(Pipelining):
    """Sends together what came while the last ones were on their way: whoever comes to its turn first sends for all."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: deque[_Waiting] = deque()
        self._turn = Lock()

    def _attempt(self, query: Query, parameters: dict[str, Any], attempts: Attempts) -> Any:
        if not query.repeatable:
            return super()._attempt(query, parameters, attempts)
        operation = _Waiting(query, parameters, attempts)
        self._waiting.append(operation)
        with self._turn:
            while not operation.is_taken and self._waiting:
                self._send_all()
        if operation.error is not None:
            raise operation.error
        if not operation.has_ended:
            raise psycopg.OperationalError("the thread that sent this with its own was interrupted")
        if operation.is_alone:
            return super()._attempt(query, parameters, attempts)
        return operation.rows

    def _send_all(self) -> None:
        """Send what waits."""
        operations: list[_Waiting] = []
        while self._waiting and len(operations) < MOST:
            operations.append(self._waiting.popleft())
            operations[-1].is_taken = True
        self.send(operations)
        for operation in operations:
            operation.has_ended = True
