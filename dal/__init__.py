"""Agent sessions and their messages in PostgreSQL: each operation one explicit SQL statement, one round trip."""

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
    SchemaMismatch,
    ServerUnavailable,
    SessionArchived,
    SessionNotFound,
    StatementFailed,
    StoreClosed,
)
from dal.records import Message, NewMessage, SessionPage, SessionRecord, Status

__all__ = [
    "AsyncSession",
    "AsyncSessionStore",
    "DalError",
    "DeadlineExceeded",
    "InvalidInput",
    "Message",
    "MessageConflict",
    "NewMessage",
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
