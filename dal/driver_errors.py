"""The driver's errors: what each means, which error of the library it becomes, and the removal of stored content."""

from __future__ import annotations

import re

import psycopg
from psycopg.pq import DiagnosticField
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from dal.errors import (
    DalError,
    DeadlineExceeded,
    MessageConflict,
    SchemaMismatch,
    ServerUnavailable,
    StatementFailed,
    StoreClosed,
)


class TooLate(psycopg.OperationalError):
    """A connection has waited until the deadline."""


APPLY = "run `dal schema apply`, or store.apply_schema()"

_NO_PRIVILEGE = "42501"
"""SQLSTATE of a missing privilege."""

_NO_TABLES = ("3F000", "42703", "42704", "42P01")
"""SQLSTATEs of a missing schema, column, type or table."""

_WENT_AWAY = ("57P01", "57P02", "57P03", "57P05", "53300")
"""SQLSTATEs of a server that shuts down, crashed, is starting, ends idle sessions, or has no free connection."""

_IN_A_FUNCTION = (*_NO_TABLES, _NO_PRIVILEGE, "23505", "42883")
"""SQLSTATEs with another meaning if a trigger or function of the service raised them."""

_BY_POLICY = ("ExecWithCheckOptions", "check_enable_rls")
"""The server's functions that raise `_NO_PRIVILEGE` for row-level security; the message itself may be translated."""

_OURS = re.compile(r"while executing command on \S+|(?:PL/pgSQL|SQL) function (?:\S+\.)?dal_\w+\(.*", re.DOTALL)
"""The outermost context of an error on a node of a cluster, or in a function of the distributed layout."""

_SENT_TWICE = ("", "messages_message_id_key", "changes_pkey")
"""Constraints that refuse a row that another transaction is storing too. Citus does not name them."""

_STORING_TWICE = "another transaction was storing the same message at this moment"
"""The message of a function of the distributed layout in this case."""

_Rule = tuple[type[DalError], str]
"""An error, and its text: "{message}" stands for the server's message, and "{hint}" for its hint."""

_LOST: _Rule = (ServerUnavailable, "the server went away: {message}; try again")

_BY_TYPE: dict[type, _Rule] = {
    TooLate: (DeadlineExceeded, "{message}; raise the store's timeout, or look at what the server waits for"),
    PoolTimeout: (ServerUnavailable, "no connection was free: {message}; raise max_size or timeout"),
    TooManyRequests: (ServerUnavailable, "no connection was free: {message}; raise max_size or timeout"),
    PoolClosed: (StoreClosed, "the store is not open: {message}"),
}
"""The rules for errors that the server did not raise."""

_BY_STATE: dict[str, _Rule] = {
    **dict.fromkeys(_NO_TABLES, (SchemaMismatch, f"{{message}}: session-dal's tables are not here; {APPLY}")),
    **dict.fromkeys(_WENT_AWAY, _LOST),
    _NO_PRIVILEGE: (
        StatementFailed,
        (
            "{message}: `dal schema grants` gives a service's role what it needs; a role that only reads needs a store "
            "with read_only=True, and cannot write"
        ),
    ),
    "25006": (  # A standby, or a server that is set to read-only.
        ServerUnavailable,
        "this server only reads: {message}; connect with target_session_attrs=read-write to find the one that writes",
    ),
    "25P03": (
        ServerUnavailable,
        (
            "the server rolled this transaction back, since nothing was sent in it for too long: {message}; send more "
            "often, or connect with a longer idle_timeout (idle_in_transaction_session_timeout)"
        ),
    ),
}

_BY_PLACE: dict[tuple[str, str], _Rule] = {
    # An old server, or tables of another project or version.
    **{("schema.sql", state): (SchemaMismatch, "{message}. {hint}") for state in ("0A000", "42P07", "55000")},
    ("0008.sql", "2BP01"): (StatementFailed, "{message}. {hint}"),  # Views, triggers and policies of a service.
    ("import", _NO_PRIVILEGE): (
        StatementFailed,
        (
            "{message}: an import needs what `dal schema grants` gives a service's role, and TEMPORARY on the "
            "database, as with GRANT TEMPORARY ON DATABASE app TO service"
        ),
    ),
}
"""The rules that differ for a query, by its name and the SQLSTATE."""


def is_sent_twice(error: psycopg.Error) -> bool:
    """Return whether another transaction was storing the same message, or making the same change."""
    if isinstance(error, psycopg.errors.SerializationFailure):
        return primary_message(error) == _STORING_TWICE
    return (
        isinstance(error, psycopg.errors.UniqueViolation)
        and (error.diag.constraint_name or "") in _SENT_TWICE
        and not _foreign_context(error)
    )


def is_node_lost(error: psycopg.Error) -> bool:
    """Return whether a cluster lost one of its nodes during the statement, which Citus reports in two more ways."""
    message = primary_message(error)
    return (error.sqlstate == "XX000" and message.startswith("server closed the connection")) or (
        error.sqlstate == "58030" and " to shard " in message
    )


def is_dropped(error: psycopg.Error) -> bool:
    """Return whether an object was dropped while the statement looked it up, such as an index during the schema check.

    PostgreSQL does not translate this message.
    """
    return error.sqlstate == "XX000" and primary_message(error).startswith("cache lookup failed for ")


def is_outdated(error: BaseException) -> bool:
    """Return whether a prepared statement did not run, since the type of a column has changed since then."""
    return (
        isinstance(error, psycopg.errors.FeatureNotSupported) and error.diag.source_function == "RevalidateCachedQuery"
    )


def translate(error: psycopg.Error, query: str) -> DalError:
    """Translate an error of the driver; the caller raises the result from it."""
    message = primary_message(error)
    kind, text = _BY_TYPE.get(type(error)) or _rule(error, query, message)
    text = text.replace("{hint}", error.diag.message_hint or "").replace("{message}", message).strip()
    return kind(text, query=query, sqlstate=error.sqlstate)


def _rule(error: psycopg.Error, query: str, message: str) -> _Rule:
    state = error.sqlstate or ""
    if is_sent_twice(error):
        return MessageConflict, (
            "another transaction was storing the same message at this moment; roll back and append it again "
            "with the same message_id, which gives what was stored"
        )
    cause = _service_cause(error, query)
    if cause is not None:
        return StatementFailed, f"{{message}}: {cause}"
    if state == "0A000" and "TABLESAMPLE" in message:  # See schema/check.sql.
        return SchemaMismatch, "dal_schema is a view, and must be a table; drop it"
    if state.startswith("08") or is_node_lost(error):
        return _LOST
    if not state and isinstance(error, psycopg.OperationalError):
        return ServerUnavailable, f"the server cannot be reached: {{message}}; {_advice(message)}"
    refused = StatementFailed, "the server refused the statement: {message}"
    return _BY_PLACE.get((query, state)) or _BY_STATE.get(state, refused)


def _service_cause(error: psycopg.Error, query: str) -> str | None:
    """Return the cause if it is the service's own trigger, policy or index, or an orphaned row; otherwise None."""
    diag = error.diag
    outermost = _foreign_context(error)
    if outermost and error.sqlstate in _IN_A_FUNCTION and not query.endswith(".sql"):
        return f"raised in a trigger or function that is not session-dal's ({outermost})"
    if error.sqlstate == _NO_PRIVILEGE and diag.source_function in _BY_POLICY:
        return "row-level security is on, and no policy allows it; see pg_policies"
    if not isinstance(error, psycopg.errors.UniqueViolation):
        return None
    if diag.constraint_name == "messages_pkey":
        return (
            "messages are stored that outlived their session, as after a partial restore; restore the sessions too, "
            "or delete the messages that have none"
        )
    return "a unique index that is not session-dal's allows one such row"


def _foreign_context(error: psycopg.Error) -> str | None:
    """Return the outermost function in which an error was raised, unless it is session-dal's own.

    It is the last line of the context. The lines above may quote statements, and so content.
    """
    if not error.diag.context:
        return None
    outermost = error.diag.context.splitlines()[-1]
    return None if _OURS.fullmatch(outermost) else outermost


def _advice(message: str) -> str:
    """Return what to do about a failed connection."""
    if "unsupported startup parameter" in message:
        return "behind PgBouncer say pgbouncer=True, and give the search_path there"
    return "check that it runs and that the connection string is right"


_QUOTING = (DiagnosticField.MESSAGE_DETAIL, DiagnosticField.CONTEXT, DiagnosticField.INTERNAL_QUERY)
"""Fields that may quote content, such as "Failing row contains (…)" or a line of COPY."""

_WITHHELD = "(withheld: it may quote stored content)"

_OF_ENCODINGS = ("22021", "22P05")
"""SQLSTATEs of data exceptions whose messages quote names of encodings, not values."""

_QUOTED = re.compile(r"[\"'«»„“”「」].*[\"'«»„“”「」]", re.DOTALL)
"""From the first quotation mark to the last: a value may contain some. Messages may be translated."""


def primary_message(error: psycopg.Error) -> str:
    """Return an error's main message, without the value that a data exception (class 22) quotes.

    Citus reports every error of a COPY to its workers, which an import uses, as XX000.
    """
    message = (error.diag.message_primary or str(error)).strip()
    if (error.sqlstate or "").startswith(("22", "XX000")) and error.sqlstate not in _OF_ENCODINGS:
        return _QUOTED.sub('"…"', message)
    return message


def redact(error: BaseException | None) -> None:
    """Remove the parts that may quote content from a driver's error and its causes.

    This changes the error itself, since a copy would have the original as its context. The SQLSTATE, the main message,
    the hint, and the names of tables, columns and constraints remain.
    """
    while error is not None:
        if isinstance(error, psycopg.Error) and error.diag.sqlstate is not None:
            fields = {field: getattr(error.diag, field.name.lower()) for field in DiagnosticField}
            fields |= {field: _WITHHELD for field in _QUOTING if fields[field]}
            message = fields[DiagnosticField.MESSAGE_PRIMARY] = primary_message(error)
            info = {int(field): None if text is None else text.encode() for field, text in fields.items()}
            psycopg.Error.__init__(error, message, info=info)
        error = error.__cause__
