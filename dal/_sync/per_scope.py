# Generated from dal/_async/per_scope.py by .ci/async_to_sync.py: change that file, and run it.
"""One object for each process and event loop, such as a pool or a writer."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from dal._sync.scopes import Scope, is_here, is_over, run_in, scope
from dal.errors import StoreClosed


class Closable(Protocol):
    """An object that can be closed."""

    def close(self) -> None:
        """Close it, in its own process and event loop."""


T = TypeVar("T", bound=Closable)


class PerScope(Generic[T]):
    """One object for each process, and for each event loop in it, made at the first use there.

    Objects of the parent process are kept but not used, since their finalizers would use them.
    """

    def __init__(self, what: str, make: Callable[[], T], abandon: Callable[[T], Any] = lambda _: None) -> None:
        self._what = what
        self._make = make
        self._abandon = abandon
        """Called for an object whose event loop has ended."""
        self._each: dict[Scope, T] = {}
        self._is_closed = False

    def __del__(self) -> None:
        """Warn if it was never closed; the finalizers end the threads, tasks and connections."""
        # At exit, the interpreter also collects objects that a program may keep open until then.
        if not self._is_closed and self.all() and not sys.is_finalizing():
            how = "use it as a context manager, or call close()"
            warnings.warn(f"a {self._what} was never closed: {how}", ResourceWarning, stacklevel=1)

    def get(self) -> T:
        """Return the object of this scope, and make it at the first use."""
        here = scope()
        one = self._each.get(here)
        return self._begin(here) if one is None else one

    def _begin(self, here: Scope) -> T:
        if self._is_closed:
            raise StoreClosed(f"this {self._what} was closed; make a new one")
        for other in list(self._each):
            if is_over(other):
                self._end(other)
        return self._each.setdefault(here, self._make())

    def all(self) -> list[T]:
        """Return the objects of this process."""
        return [one for there, one in list(self._each.items()) if is_here(there)]

    def pop(self) -> T | None:
        """Remove the object of this scope and return it; the next `get` makes another."""
        return self._each.pop(scope(), None)

    def _end(self, other: Scope) -> None:
        one = self._each.pop(other, None)
        if one is not None:
            self._abandon(one)

    def close(self) -> None:
        """Close the objects of this process, each in its own event loop."""
        self._is_closed = True
        for there, one in list(self._each.items()):
            if not run_in(there, one.close):
                self._end(there)
