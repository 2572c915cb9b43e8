"""Load a module of fixtures and call its functions. Its exceptions become FixtureError."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from dal.gate.errors import FixtureError, InvalidInput
from dal.gate.measure.prepared import numbered
from dal.gate.measure.subjects import Fixtures, Subject

USUAL = 16_384
"""The largest size of an axis without --large, unless the fixtures define a smaller one. Each axis then takes a few
seconds."""


def load_fixtures(path: Path) -> Fixtures:
    """Load a module of fixtures from a file."""
    spec = importlib.util.spec_from_file_location(f"fixtures_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InvalidInput("--fixtures", f"{path} is not a Python file")
    module: Any = importlib.util.module_from_spec(spec)
    with _named(f"importing {path}"):
        spec.loader.exec_module(module)
    for name in ("grow", "parameters"):
        if not callable(getattr(module, name, None)):
            raise InvalidInput("--fixtures", f"{path} defines no function {name}()")
    fixtures: Fixtures = module
    return fixtures


class FixtureCalls:
    """Calls the functions of a module of fixtures."""

    def __init__(self, fixtures: Fixtures) -> None:
        self._fixtures = fixtures
        self.small_tables = frozenset(getattr(fixtures, "SMALL_TABLES", ()))

    def grow(
        self, connection: psycopg.Connection[Any], axis: str, before: int, size: int, subjects: Sequence[Subject]
    ) -> None:
        """Grow the data along an axis of these queries."""
        call = f"the fixtures' grow(connection, {axis!r}, {before}, {size})"
        with _named(f"{call}, for {', '.join(map(str, subjects[:3]))},"):
            self._fixtures.grow(connection, axis, before, size)

    def parameters(self, subject: Subject, axis: str, size: int, turn: int) -> Mapping[str, Any]:
        """Return the parameters of a call."""
        with _named(f"the fixtures' parameters({subject.name!r}, {axis!r}, {size}, {turn}), for {subject},"):
            given = self._fixtures.parameters(subject.name, axis, size, turn)
            if missing := set(numbered(subject.text)[1]) - given.keys():
                raise LookupError(f"the query needs {', '.join(sorted(missing))} too")
            return given

    def usual(self, axis: str) -> int:
        """Return the largest size of an axis without --large."""
        return min((USUAL, *(self._size(name, axis) for name in ("usual", "largest") if self._defines(name))))

    def largest(self, axis: str) -> int:
        """Return the largest size of an axis for --large."""
        return self._size("largest", axis)

    def check_large(self) -> None:
        """Raise InvalidInput if the fixtures define no sizes for --large."""
        if not self._defines("largest"):
            raise InvalidInput("--large", "needs fixtures that define largest(axis): the largest size of each axis")

    def _defines(self, name: str) -> bool:
        return callable(getattr(self._fixtures, name, None))

    def _size(self, name: str, axis: str) -> int:
        with _named(f"the fixtures' {name}({axis!r})"):
            size: int = getattr(self._fixtures, name)(axis)
            return size


@contextmanager
def _named(call: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise FixtureError(f"{call} raised {type(error).__name__}: {error}") from error
