"""The error tree, and the one place where the driver's errors are translated into it."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from dal.records import Message
from dal.redact import primary_message


class DalError(Exception):
    """The base class of all errors of this library.

    `query` names the query file, as in "messages.append", and `sqlstate` is PostgreSQL's code; both are
    None if no statement was sent. The driver's own error is the cause, without the parts that may quote stored content
    (see dal.redact).
    """

    def __init__(self, message: str, *, query: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.query = query
        self.sqlstate = sqlstate

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.query, self.sqlstate) if part)
        return f"{self.args[0]} [{where}]" if where else str(self.args[0])


class InvalidInput(DalError, ValueError):
    """An argument cannot be stored; nothing was sent. `argument` names it."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(f"{argument}: {reason}")
        self.argument = argument
        self.reason = reason

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, str]]:
        return type(self), (self.argument, self.reason)


class SessionNotFound(DalError, LookupError):
    """No such session is stored: it never had a message, or it was deleted."""


class SessionArchived(DalError):
    """The session is archived, which is final."""


class MessageConflict(DalError):
    """A message with this id is stored already, with other content."""


class PartlyRefused(DalError):
    """Some sessions refused their messages; those of the others are stored.

    `outcomes` has the stored Message or the error of each given message, in their order.
    """

    def __init__(self, outcomes: Sequence[Message | DalError]) -> None:
        errors = [one for one in outcomes if isinstance(one, DalError)]
        super().__init__(
            f"{len(errors)} of {len(outcomes)} messages were refused, and the others are stored; the first: {errors[0]}"
        )
        self.outcomes = tuple(outcomes)

    def __reduce__(self) -> tuple[type[PartlyRefused], tuple[tuple[Message | DalError, ...]]]:
        return type(self), (self.outcomes,)


class SchemaMismatch(DalError):
    """The tables are missing or are not those of this release, or the server is too old.

    `differences` lists all errors in tables of the right version, each a sentence.
    """

    differences: tuple[str, ...] = ()


class ServerUnavailable(DalError):
    """The server cannot be reached, or the connection to it was lost.

    If `outcome_unknown` is true, the statement was sent and may have been committed. Repeat an append with the
    error's `message_ids`, so that each message is stored once.
    """

    outcome_unknown: bool = False
    message_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.outcome_unknown:
            return super().__str__()
        how = "; message_ids has the ids that make it safe to repeat" if self.message_ids else ""
        return f"{super().__str__()}; it may have been done all the same{how}"


class DeadlineExceeded(ServerUnavailable, TimeoutError):
    """The operation did not end within the store's `timeout`."""


class StatementFailed(DalError):
    """The server refused a statement, for a reason that no other error names."""


class StoreClosed(DalError):
    """The store, its pool or its transaction has ended."""


class TooLate(psycopg.OperationalError):
    """A connection has waited until the deadline."""


_NO_TABLES = ("3F000", "42703", "42704", "42P01")
"""SQLSTATEs of a missing schema, column, type or table."""

_REFUSED_BY_SCHEMA = ("0A000", "42P07", "55000")
"""SQLSTATEs of schema.sql for an old server, or for tables of another project or version."""

_SERVER_GOES = ("57P01", "57P02", "57P03", "57P05", "53300")
"""SQLSTATEs of a server that shuts down, crashed, is starting, ends idle sessions, or has no free connection."""

_TRANSACTION_IDLED = "25P03"
"""SQLSTATE of a transaction that was idle for too long."""

_NO_PRIVILEGE = "42501"
"""SQLSTATE of a missing privilege."""

_IN_A_FUNCTION = (*_NO_TABLES, _NO_PRIVILEGE, "23505", "42883")
"""SQLSTATEs with another meaning if a trigger or function of the service raised them."""

_BY_POLICY = ("ExecWithCheckOptions", "check_enable_rls")
"""The server's functions that raise `_NO_PRIVILEGE` for row-level security; the message itself may be translated."""

_OF_ONE_SENT_TWICE = ("", "messages_message_id_key", "removals_pkey")
"""Constraints that refuse a row that another transaction is storing too. Citus does not name them."""

_READ_ONLY = "25006"
"""SQLSTATE of a standby, or of a server that is set to read-only."""

APPLY = "run `dal schema apply`, or store.apply_schema()"


def is_sent_twice(error: psycopg.Error) -> bool:
    """Return whether another transaction was storing the same message, or the same removal."""
    return (
        isinstance(error, psycopg.errors.UniqueViolation)
        and (error.diag.constraint_name or "") in _OF_ONE_SENT_TWICE
        and not error.diag.context
    )


def translate(error: psycopg.Error, query: str) -> DalError:  # noqa: C901, PLR0911, PLR0912 - one return for each rule
    """Translate an error of the driver; the caller raises the result from it."""
    state = error.sqlstate
    said = primary_message(error)
    if isinstance(error, TooLate):
        return DeadlineExceeded(f"{said}; raise the store's timeout, or look at what the server waits for", query=query)
    if isinstance(error, PoolTimeout | TooManyRequests):
        return ServerUnavailable(f"no connection was free: {said}; raise max_size or timeout", query=query)
    if isinstance(error, PoolClosed):
        return StoreClosed(f"the store is not open: {said}", query=query)
    if is_sent_twice(error):
        return MessageConflict(
            "another transaction was storing the same message at this moment; roll back and append it again "
            "with the same message_id, which gives what was stored",
            query=query,
            sqlstate=state,
        )
    cause = _of_the_service(error, query)
    if cause is not None:
        return StatementFailed(f"{said}: {cause}", query=query, sqlstate=state)
    if isinstance(error, psycopg.errors.FeatureNotSupported) and "TABLESAMPLE" in said:  # See schema/check.sql.
        return SchemaMismatch("dal_schema is a view, and must be a table; drop it", query=query, sqlstate=state)
    if state in _NO_TABLES:
        return SchemaMismatch(f"{said}: session-dal's tables are not here; {APPLY}", query=query, sqlstate=state)
    if state in _REFUSED_BY_SCHEMA and query == "schema.sql":
        hint = error.diag.message_hint or ""
        return SchemaMismatch(f"{said}. {hint}".strip(), query=query, sqlstate=state)
    if state == _NO_PRIVILEGE and query == "import":
        return StatementFailed(
            f"{said}: an import needs what `dal schema grants` gives a service's role, and TEMPORARY on the "
            "database, as with GRANT TEMPORARY ON DATABASE app TO service",
            query=query,
            sqlstate=state,
        )
    if state == _NO_PRIVILEGE:
        return StatementFailed(
            f"{said}: `dal schema grants` gives a service's role what it needs; a role that only reads needs a store "
            "with read_only=True, and cannot write",
            query=query,
            sqlstate=state,
        )
    if state == _READ_ONLY:
        return ServerUnavailable(
            f"this server only reads: {said}; connect with target_session_attrs=read-write to find the one that writes",
            query=query,
            sqlstate=state,
        )
    if state == _TRANSACTION_IDLED:
        return ServerUnavailable(
            f"the server rolled this transaction back, since nothing was sent in it for too long: {said}; send more "
            "often, or connect with a longer idle_timeout (idle_in_transaction_session_timeout)",
            query=query,
            sqlstate=state,
        )
    if state is not None and (state in _SERVER_GOES or state.startswith("08")):
        return ServerUnavailable(f"the server went away: {said}; try again", query=query, sqlstate=state)
    if state is None and isinstance(error, psycopg.OperationalError):
        return ServerUnavailable(
            f"the server cannot be reached: {said}; {_advice(said)}",
            query=query,
        )
    return StatementFailed(f"the server refused the statement: {said}", query=query, sqlstate=state)


def _of_the_service(error: psycopg.Error, query: str) -> str | None:
    """Return the cause if it is the service's own trigger, policy or index, or an orphaned row; otherwise None."""
    diag = error.diag
    if diag.context and error.sqlstate in _IN_A_FUNCTION and not query.endswith(".sql"):
        # The last line is the outermost function. The lines above may quote statements, and so content.
        return f"raised in a trigger or function that is not session-dal's ({diag.context.splitlines()[-1]})"
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


def _advice(said: str) -> str:
    """Return what to do about a failed connection."""
    if "unsupported startup parameter" in said:
        return "behind PgBouncer say pgbouncer=True, and give the search_path there"
    return "check that it runs and that the connection string is right"
