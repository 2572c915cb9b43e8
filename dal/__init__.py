"""Agent sessions and their messages in PostgreSQL: each operation one explicit SQL statement, one round trip."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dal import libpq

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
        PartlyRefused,
        SchemaMismatch,
        ServerUnavailable,
        SessionArchived,
        SessionNotFound,
        StatementFailed,
        StoreClosed,
    )
    from dal.observe import Hook, Operation
    from dal.records import Imported, Message, Metadata, NewMessage, Opened, SessionPage, SessionRecord, Status
    from dal.validate import Sanitize

# Where each name comes from. It is imported when it is first asked for: pytest loads the plugin in dal.gate.measure
# everywhere that this package is installed, and need not pay for the driver.
_FROM = {
    "dal._async.queries": ["async_queries"],
    "dal._async.session": ["AsyncSession"],
    "dal._async.store": ["AsyncSessionStore"],
    "dal._sync.queries": ["queries"],
    "dal._sync.session": ["Session"],
    "dal._sync.store": ["SessionStore"],
    "dal.errors": [
        "DalError",
        "DeadlineExceeded",
        "InvalidInput",
        "MessageConflict",
        "PartlyRefused",
        "SchemaMismatch",
        "ServerUnavailable",
        "SessionArchived",
        "SessionNotFound",
        "StatementFailed",
        "StoreClosed",
    ],
    "dal.records": [
        "Imported",
        "Message",
        "Metadata",
        "NewMessage",
        "Opened",
        "SessionPage",
        "SessionRecord",
        "Status",
    ],
    "dal.validate": ["Sanitize"],
    "dal.observe": ["Hook", "Operation"],
}

__all__ = [
    "AsyncSession",
    "AsyncSessionStore",
    "DalError",
    "DeadlineExceeded",
    "Hook",
    "Imported",
    "InvalidInput",
    "Message",
    "MessageConflict",
    "Metadata",
    "NewMessage",
    "Opened",
    "Operation",
    "PartlyRefused",
    "Sanitize",
    "SchemaMismatch",
    "ServerUnavailable",
    "Session",
    "SessionArchived",
    "SessionNotFound",
    "SessionPage",
    "SessionRecord",
    "SessionStore",
    "StatementFailed",
    "Status",
    "StoreClosed",
    "async_queries",
    "queries",
]


def __getattr__(name: str) -> Any:
    for module, names in _FROM.items():
        if name in names:
            with libpq.needed():
                value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
