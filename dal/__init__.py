"""Agent sessions and their messages in PostgreSQL: each operation one explicit SQL statement, one round trip."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dal._async.queries import async_queries
    from dal._async.session import AsyncSession
    from dal._async.store import AsyncSessionStore
    from dal._sync.queries import queries
    from dal._sync.session import Session
    from dal._sync.store import SessionStore
    from dal.errors import (
        DalError,
        DeadlineExceeded,
        InvalidInput,
        MessageConflict,
        MessageNotFound,
        Overtaken,
        PartlyRefused,
        SchemaMismatch,
        ServerUnavailable,
        SessionArchived,
        SessionDeleted,
        SessionExists,
        SessionNotFound,
        SessionTrashed,
        StatementFailed,
        StoreClosed,
    )
    from dal.observe import Hook, Operation
    from dal.records import (
        Change,
        Erased,
        Imported,
        Message,
        Metadata,
        NewMessage,
        Opened,
        Purged,
        RemovedMessage,
        SessionPage,
        SessionRecord,
        Status,
    )
    from dal.validate import Sanitize

_MODULES = ("dal.errors", "dal.records", "dal.validate", "dal.observe", "dal.{side}.session", "dal.{side}.store")
"""The modules of the public names, which are imported in this order when a name is first used.

pytest loads the plugin in dal.gate wherever this package is installed, and should not have to load the driver.
"""

__all__ = [
    "AsyncSession",
    "AsyncSessionStore",
    "Change",
    "DalError",
    "DeadlineExceeded",
    "Erased",
    "Hook",
    "Imported",
    "InvalidInput",
    "Message",
    "MessageConflict",
    "MessageNotFound",
    "Metadata",
    "NewMessage",
    "Opened",
    "Operation",
    "Overtaken",
    "PartlyRefused",
    "Purged",
    "RemovedMessage",
    "Sanitize",
    "SchemaMismatch",
    "ServerUnavailable",
    "Session",
    "SessionArchived",
    "SessionDeleted",
    "SessionExists",
    "SessionNotFound",
    "SessionPage",
    "SessionRecord",
    "SessionStore",
    "SessionTrashed",
    "StatementFailed",
    "Status",
    "StoreClosed",
    "async_queries",
    "queries",
]


class NoLibpq(ImportError):
    """psycopg cannot find libpq, which is not installed with this package."""


@contextmanager
def libpq_needed() -> Iterator[None]:
    """Raise NoLibpq, with the package to install, if psycopg cannot find libpq."""
    try:
        yield
    except ImportError as error:
        if "no pq wrapper available" not in str(error):
            raise
        raise NoLibpq(
            "psycopg finds no libpq: pip install 'session-dal[binary]', or install libpq itself (in Debian, libpq5)"
        ) from error


def __getattr__(name: str) -> Any:
    if name in __all__:
        side = "_async" if name.lower().startswith("async") else "_sync"
        with libpq_needed():
            for module in (import_module(path.format(side=side)) for path in _MODULES):
                if name in vars(module):
                    value = globals()[name] = vars(module)[name]
                    return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
