"""Calls of a module of fixtures, whose own exceptions are told apart from the gate's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from dal.measure.subjects import Fixtures, Subject


class FixtureError(Exception):
    """A function of the fixtures raised an exception: its cause, with the traceback, is what its author needs."""


class FixtureCalls:
    """Calls the functions of a module of fixtures."""

    def __init__(self, fixtures: Fixtures) -> None:
        self._fixtures = fixtures

    def grow(self, connection: psycopg.Connection[Any], axis: str, before: int, size: int) -> None:
        """Grow the data along an axis."""
        with _told(f"grow(connection, {axis!r}, {before}, {size})"):
            self._fixtures.grow(connection, axis, before, size)

    def parameters(self, subject: Subject, axis: str, size: int, turn: int) -> Mapping[str, Any]:
        """Return the parameters of a query's call."""
        call = f"parameters({subject.name!r}, {axis!r}, {size}, {turn})"
        with _told(call, f", for query {subject.name} of {subject.path}"):
            return self._fixtures.parameters(subject.name, axis, size, turn)


@contextmanager
def _told(call: str, purpose: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise FixtureError(f"the fixtures' {call}{purpose} raised {said}") from error
