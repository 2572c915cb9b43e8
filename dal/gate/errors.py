"""The errors of the gate."""

from __future__ import annotations


class GateError(Exception):
    """Base class of the gate's errors."""


class InvalidInput(GateError, ValueError):
    """An option or an argument is invalid; `argument` is its name."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument}: {reason}")
        self.argument = argument
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, str]]:
        return type(self), (self.argument, self.reason)


class NoServer(GateError):
    """No server could be started, or the given one does not answer."""


class FileRefused(GateError):
    """A file cannot be written, or writing it would replace another one."""


class NotInstalled(GateError):
    """An optional package is missing."""


class SchemaRefused(GateError):
    """The server refused the schema file."""


class ServerLost(GateError):
    """The connection broke during a measurement."""


class QueryFileError(GateError):
    """aiosql cannot load a query file."""


class FixtureError(GateError):
    """The fixtures raised an exception. It is the `__cause__` of this one."""
