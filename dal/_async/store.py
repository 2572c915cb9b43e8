"""The asynchronous session store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import IO, Any, Self

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from dal import validate
from dal._async.appending import AsyncAppends, append_to_each
from dal._async.backend import AsyncBackend
from dal._async.erasing import erase_user
from dal._async.listing import count_sessions, delete_idle, list_agents, list_sessions, purge
from dal._async.pool import AsyncOwnPool
from dal._async.runner import AsyncRunner
from dal._async.schema import apply, apply_distributed
from dal._async.session import AsyncSession
from dal._async.sources import source_of
from dal._async.standby import AsyncStandby, connect_standby
from dal.conninfo import PoolSettings
from dal.errors import StatementFailed
from dal.histories._async.export import export
from dal.histories._async.imports import import_lines
from dal.observe import Hook, Observer
from dal.records import Erased, Imported, Message, Metadata, NewMessage, Purged, SessionPage, Status
from dal.retries import RETRIES
from dal.schema.check import SchemaCheck
from dal.writer._async.writer import AsyncWriter


class AsyncSessionStore:
    """The sessions in one schema of one PostgreSQL database.

    `AsyncSessionStore.connect` creates a store with its own connection pool. The constructor takes a pool or a
    connection of yours instead.

    PostgreSQL cannot store NUL characters or lone surrogates. With `sanitize="replace"` the store replaces them in a
    message's content by U+FFFD; otherwise it refuses the message. With an `owner` the store is confined to that user,
    as by `for_user`. With `read_only=True`, methods that read write nothing, so that the store works with a role or on
    a server that can only read.

    `hook`, `hook_parameters`, `timeout` and `retries` are as in `connect`. The server does not know the timeout,
    however: at the deadline the store closes the connection, and the server may still finish the statement.
    """

    def __init__(  # noqa: PLR0913 - as connect
        self,
        source: AsyncConnectionPool[Any] | AsyncConnection[Any],
        *,
        sanitize: validate.Sanitize = None,
        owner: str | None = None,
        read_only: bool = False,
        timeout: float | None = None,
        retries: int = RETRIES,
        hook: Hook | None = None,
        hook_parameters: bool = False,
    ) -> None:
        runner = AsyncRunner(
            source_of(source, validate.seconds("timeout", timeout)),
            SchemaCheck(),
            validate.number("retries", retries, least=0),
            timeout,
            Observer(hook, parameters=hook_parameters),
        )
        self._backend = AsyncBackend(
            runner,
            AsyncAppends(runner),
            validate.sanitize("sanitize", sanitize),
            validate.optional_identifier("owner", owner),
            read_only,
        )
        self._closes: AsyncRunner | AsyncAppends | AsyncStandby | None = runner

    @classmethod
    def _make(cls, backend: AsyncBackend, *, closes: AsyncRunner | AsyncAppends | AsyncStandby | None) -> Self:
        """Create a store without __init__, whose parameters are all public types."""
        store = cls.__new__(cls)
        vars(store).update(_backend=backend, _closes=closes)
        return store

    @classmethod
    def connect(  # noqa: PLR0913 - what a service sets, by name
        cls,
        conninfo: str = "",
        *,
        standby: str | None = None,
        standby_wait: float = 0.25,
        schema: str | None = None,
        sanitize: validate.Sanitize = None,
        read_only: bool = False,
        min_size: int = 1,
        max_size: int = 10,
        timeout: float = 10.0,
        idle_timeout: float | None = 300.0,
        keepalive: float | None = 60.0,
        retries: int = RETRIES,
        prepare_threshold: int | None = 5,
        pgbouncer: bool = False,
        hook: Hook | None = None,
        hook_parameters: bool = False,
    ) -> Self:
        """Create a store with its own pool of `min_size` to `max_size` connections. Nothing is sent yet.

        `schema` becomes the only schema on the search_path. An operation may take at most `timeout` seconds, including
        the wait for a connection and all retries, of which there are at most `retries` (see dal.retries); the server
        gets the timeout as statement_timeout.

        With the connection string of a `standby`, reads come from there, through a second pool with the same settings
        (docs/guides/standby.md). If the standby fails, or a read would have to wait for it longer than `standby_wait`
        seconds, the read comes from the primary.

        If a client hangs in the middle of a transaction, an export or a stream, the server ends the transaction after
        `idle_timeout` seconds (idle_in_transaction_session_timeout). If the client has vanished from the network, the
        server does so after `keepalive` seconds (TCP keepalives, on both sides). None sends no limit. `jit` is off
        on its connections (docs/guides/growing.md). Settings in `conninfo` take precedence.

        Behind PgBouncer in transaction mode, use `pgbouncer=True`, which sends neither these settings nor a `schema`.
        If prepared statements do not work, as behind an older PgBouncer, use `prepare_threshold=None`.

        The store calls `hook` with a `dal.Operation` after each operation (see dal.observe). With
        `hook_parameters=True` the operation includes the statement's parameters, and so stored content.
        """
        settings = PoolSettings(
            conninfo=conninfo,
            schema=schema,
            min_size=min_size,
            max_size=max_size,
            timeout=timeout,
            idle_timeout=idle_timeout,
            keepalive=keepalive,
            prepare_threshold=prepare_threshold,
            pgbouncer=pgbouncer,
        )
        schema_check = SchemaCheck()
        pool = AsyncOwnPool(settings, schema_check)
        observer = Observer(hook, parameters=hook_parameters)
        runner = AsyncRunner(pool, schema_check, validate.number("retries", retries, least=0), timeout, observer)
        second = None if standby is None else connect_standby(standby, settings, runner, standby_wait)
        backend = AsyncBackend(
            runner, AsyncAppends(runner), validate.sanitize("sanitize", sanitize), read_only=read_only, standby=second
        )
        return cls._make(backend, closes=second or runner)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the store and its own pool. It cannot be used afterwards.

        Closing a store from `for_user` leaves the original store open; closing a writer does too, and sends the appends
        in its queue first.
        """
        if self._closes is not None:
            await self._closes.close()

    def for_user(self, user_id: str) -> Self:
        """Return a store with the same methods, confined to one user in every statement.

        It opens sessions of that user. Other users' sessions behave as if they did not exist, even to someone who knows
        the id: they are not found, listed or changed, and no new session can take their ids. This takes no extra round
        trip.
        """
        owner = validate.user(validate.identifier("user_id", user_id), self._backend.owner)
        return self._make(replace(self._backend, owner=owner), closes=None)

    def on_primary(self) -> Self:
        """Return a store with the same methods, whose reads come from the primary, although there is a standby."""
        return self._make(replace(self._backend, standby=None), closes=None)

    def writer(self, *, waiting: int = 10_000) -> Self:
        """Return a store with the same methods, which batches concurrent appends into one statement.

        Use it as a context manager or close it, so that it sends queued appends. An append returns when its own message
        is stored. A single append is sent at once; appends during a batch in flight make the next batch. The queue
        holds at most `waiting` appends (up to a million); others wait for room until their deadline. A busy writer
        keeps its connection, unless other calls wait for one. It needs a store with a pool.
        """
        most_waiting = validate.number("waiting", waiting, least=1, most=validate.MAX_WAITING)
        runner = self._backend.runner
        if not runner.source.is_pooled:
            raise StatementFailed("a writer needs a store with a pool: it commits many calls in one transaction")
        writer = AsyncWriter(runner, waiting=most_waiting)
        return self._make(replace(self._backend, appends=writer), closes=writer)

    def session(  # noqa: PLR0913 - a session's columns
        self,
        session_id: str | None = None,
        *,
        source: str | None = None,
        user_id: str | None = None,
        parent_id: str | None = None,
        metadata: Metadata | None = None,
        existing: bool = False,
        at_least: int | None = None,
    ) -> AsyncSession:
        """Open a session: a new one, or the one with this session_id, stored or not.

        Nothing is sent. The other arguments are stored with the session's first message, and are ignored if the session
        is already stored. With `existing`, an append to a session that is not stored raises SessionNotFound instead.

        Reads from a standby may be behind. But they show what was written through this object, and the message with the
        number `at_least`, for example one that was appended elsewhere.
        """
        return AsyncSession(
            self, session_id, source, user_id, parent_id, metadata, existing=existing, at_least=at_least
        )

    async def append_all(self, messages: Iterable[tuple[AsyncSession, NewMessage]]) -> tuple[Message, ...]:
        """Store messages of any number of sessions in one statement, in the given order.

        All messages of a session are stored, or none of them. A failure in one session does not affect the others:
        then PartlyRefused has the `Message` or the error for each pair. Open the sessions with this store.

        On a cluster, a store with a pool sends a statement for each shard, all at the same time.
        """
        return await append_to_each(self, messages)

    async def sessions(  # noqa: PLR0913 - filters
        self,
        *,
        user_id: str | None = None,
        source: str | None = None,
        parent_id: str | None = None,
        status: Status | Collection[Status] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> SessionPage:
        """List sessions, latest activity first: a page of `limit`, with the cursor of the next page.

        `status` is one status or several; without it, trashed sessions are left out. With `parent_id`, it lists the
        forks of a session, and those begun with it as their parent; it cannot be combined with `source`.

        A user's sessions are in exact order. In other lists, and with `parent_id`, sessions that were active in the
        same minute may be in any order.
        """
        return await list_sessions(self._backend, user_id, source, parent_id, status, limit, cursor)

    async def count_sessions(self, *, user_id: str | None = None) -> dict[Status, int]:
        """Count a user's sessions by their status. A store confined to a user counts that user's.

        The result has every status, also with 0. The time grows with the number of the user's sessions.
        """
        return await count_sessions(self._backend, user_id)

    async def agent_ids(self, session_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """List the agents of many sessions at once, each in order of first appearance.

        The result has every given session; one that is not stored has no agents.
        """
        return await list_agents(self._backend, session_ids)

    async def delete_idle(
        self, before: datetime, limit: int = 1000, *, status: Status | None = None, message_limit: int = 10_000
    ) -> tuple[str, ...]:
        """Delete at most `limit` sessions without activity since `before`, and return their ids.

        Trashed sessions are left out, unless `status` is "trashed": then it deletes those trashed before that time.

        A statement deletes at most `message_limit` messages. A session with more is deleted alone, by several
        statements in one transaction, so it is either deleted or unchanged. In a transaction of yours, there is no such
        limit.

        It skips sessions that are being written to, and sessions with a locked row in another table, such as one of
        yours that refers to messages. Call it until it returns nothing.
        """
        return await delete_idle(self._backend, before, limit, status, message_limit)

    async def erase_user(
        self,
        user_id: str,
        limit: int = 100,
        *,
        message_limit: int = 10_000,
        progress: Callable[[Erased], object] | None = None,
    ) -> Erased:
        """Delete everything that is stored of a user, and return a receipt.

        Each statement deletes at most `limit` whole sessions, of any status, with their removed messages and changes,
        and at most `message_limit` messages. A session with more is deleted by several statements in one transaction.
        It waits for those who write to them. Only tombstones are left, without the user's id. After each statement,
        `progress` is called with what was deleted so far. If it is interrupted, call it again for the rest; the receipt
        then lacks what was deleted before. Stop the user's own calls first: a session that is begun afterwards stays.
        """
        return await erase_user(self._backend, user_id, limit, message_limit, progress)

    async def purge(self, before: datetime, limit: int = 1000) -> Purged:
        """Remove the tombstones and the removed messages that are older than `before`: at most `limit` of each.

        It skips locked rows, and tombstones that are younger than an hour. Call it until it removes nothing: the result
        is false then. Afterwards, the id of a purged session is like one that was never used.
        """
        return await purge(self._backend, before, limit)

    def export(
        self,
        *,
        user_id: str | None = None,
        source: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield sessions with their messages as JSON Lines (docs/format.md), from one snapshot.

        `since` (inclusive) and `until` (exclusive) limit it to sessions created in that time. Each chunk has whole
        lines. The export reads a page at a time on a connection of its own, as `session.stream` does.
        """
        return export(
            self._backend.runner,
            user_id=validate.user(user_id, self._backend.owner),
            source=validate.optional_identifier("source", source),
            since=None if since is None else validate.moment("since", since),
            until=None if until is None else validate.moment("until", until),
        )

    async def import_(self, lines: IO[bytes] | Iterable[bytes | str] | AsyncIterable[bytes | str]) -> Imported:
        """Store the lines of an export, or lines in the same format from another source (docs/format.md).

        `lines` is a binary file, or an iterable of lines or chunks. Each transaction stores whole sessions. Messages
        that are already stored are found by their message_id, so run an interrupted import again to resume it.
        """
        backend = self._backend
        return await import_lines(backend.runner, lines, owner=backend.owner, sanitize=backend.sanitize)

    async def apply_schema(self, *, distributed: bool = False, shards: int = 32, in_place: bool = False) -> None:
        """Create missing tables in the first schema of the search_path.

        With `distributed`, distribute them over the nodes of a Citus cluster, in this number of shards
        (docs/guides/distributed.md). With `in_place`, also distribute tables that hold sessions; nobody can use them
        meanwhile.
        """
        number = validate.number("shards", shards, least=1, most=validate.MAX_SHARDS)
        may_hold_sessions = validate.flag("in_place", in_place)
        if validate.flag("distributed", distributed):
            await apply_distributed(self._backend.runner, number, in_place=may_hold_sessions)
        else:
            await apply(self._backend.runner)

    async def check_schema(self) -> None:
        """Raise SchemaMismatch unless the tables exist and are those of this release."""
        await self._backend.runner.check()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection of the store's pool for your own SQL.

        The store's `timeout` limits the wait for the connection and each statement. If a statement misses it, the
        connection is closed, and the block ends with DeadlineExceeded. All other errors of your SQL are the driver's
        own, and nothing is retried.

        The connection is in autocommit mode. A connection of your own pool is in that pool's mode, and commits at the
        end of the block, or rolls back on an error. Python settings such as row_factory are restored; reset settings
        that you SET on the server. Within `transaction()` this is the transaction's connection. A store confined to a
        user lends none, since nothing could confine your SQL.
        """
        if self._backend.owner is not None:
            raise StatementFailed(
                "SQL of your own cannot be confined to a user; use connection() of a store that is not confined"
            )
        async with self._backend.runner.lend() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Run several operations in one transaction, which commits at the end of the block.

        Open sessions from the store that it yields; other sessions do not take part. An exception that leaves the block
        rolls everything back.
        """
        async with self._backend.runner.transaction() as runner:
            yield self._on(runner)

    def using(self, connection: AsyncConnection[Any]) -> Self:
        """Return a store with the same methods on a connection of yours, in its transaction.

        Unless the connection is in autocommit mode, you have to commit.
        """
        return self._on(self._backend.runner.on(connection))

    def _on(self, runner: AsyncRunner) -> Self:
        """Return a store like this one that uses another runner, and owns it."""
        return self._make(
            replace(self._backend, runner=runner, appends=AsyncAppends(runner), standby=None), closes=runner
        )
