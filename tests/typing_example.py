"""Usage that type checkers must accept or reject, with the inferred types. Checked by mypy, never run."""

from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_type

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, ConnectionPool

import dal
from dal.gate.measure.cost import Cost, cost_of
from dal.rows import Appended, IdleSession


def synchronous(connection: psycopg.Connection, pool: ConnectionPool) -> None:
    with dal.SessionStore.connect("postgresql:///", schema="agents", sanitize="replace") as store:
        assert_type(store, dal.SessionStore)
    dal.SessionStore(pool)
    store = dal.SessionStore(connection)
    session = store.session("chat-1", source="telegram", user_id="u1", metadata={"a": [1]})
    assert_type(session, dal.Session)
    message = session.append("user", "hello", agent_id=None, metadata={"tokens": 7})
    assert_type(message, dal.Message)
    assert_type(message.sequence, int)
    assert_type(message.created_at, datetime)
    new = [dal.NewMessage(role="user", content="hello")]
    assert_type(session.append_all(new), tuple[dal.Message, ...])
    assert_type(session.latest(20), tuple[dal.Message, ...])
    assert_type(session.messages(after=0, limit=100), tuple[dal.Message, ...])
    assert_type(session.message("m"), dal.Message | None)
    assert_type(session.agent_ids(), tuple[str, ...])
    assert_type(session.record(), dal.SessionRecord)
    assert_type(session.archive().status, dal.Status)
    assert_type(session.remove_from(3, if_next=5, keep=False), int)
    assert_type(session.remove_last(2, if_next=5, keep=False), tuple[dal.Message, ...])
    assert_type(session.replace_from(3, new, session_metadata={"a": 1}, if_next=5), tuple[dal.Message, ...])
    assert_type(session.removed(before=7, limit=5), tuple[dal.RemovedMessage, ...])
    assert_type(session.changes(after=2, limit=5)[0], dal.Change)
    assert_type(session.archive(if_next=3), dal.SessionRecord)
    assert_type(session.trash(), dal.SessionRecord)
    assert_type(session.restore(), dal.SessionRecord)
    assert_type(session.reset(), dal.Session)
    assert_type(session.fork(3, session_id="f", metadata={}), dal.Session)
    assert_type(store.session("chat-2", existing=True), dal.Session)
    assert_type(session.create(again=True), dal.SessionRecord)
    assert_type(session.delete(), bool)
    assert_type(store.purge(datetime.now(UTC), limit=100), dal.Purged)
    assert_type(store.purge(datetime.now(UTC)).tombstones, int)
    page = store.sessions(user_id="u1", status="active", limit=50, cursor=None)
    assert_type(page, dal.SessionPage)
    assert_type(page.cursor, str | None)
    store.sessions(parent_id="chat-1", status=["active", "trashed"])
    assert_type(store.count_sessions(user_id="u1"), dict[dal.Status, int])
    assert_type([record.session_id for record in page], list[str])
    assert_type(store.agent_ids(["a"]), dict[str, tuple[str, ...]])
    assert_type(store.delete_idle(datetime.now(UTC), 100), tuple[str, ...])
    assert_type(store.erase_user("u1", 10, progress=print), dal.Erased)
    with store.transaction() as inside:
        assert_type(inside, dal.SessionStore)
    assert_type(store.using(connection), dal.SessionStore)
    assert_type(cost_of(connection, session.latest), Cost)
    session.persisted = "yes"  # type: ignore[assignment]


def hook(operation: dal.Operation) -> None:
    assert_type(operation.query, str)
    assert_type(operation.seconds, float)
    assert_type(operation.error, BaseException | None)


def store_options(pool: ConnectionPool) -> None:
    observer: dal.Hook = hook
    replace: dal.Sanitize = "replace"
    with dal.SessionStore(pool, sanitize=replace, owner="u1", read_only=False, hook=observer) as store:
        assert_type(store.for_user("u1"), dal.SessionStore)
        assert_type(store.on_primary().session("chat-1", at_least=7), dal.Session)
    with dal.SessionStore(pool, timeout=5.0, retries=3).connection() as borrowed:
        assert_type(borrowed, psycopg.Connection[Any])
    with store.writer(waiting=100) as writer:
        session = writer.session()
        pair = (session, dal.NewMessage(role="user", content="hello"))
        try:
            assert_type(writer.append_all([pair]), tuple[dal.Message, ...])
        except dal.PartlyRefused as error:
            assert_type(error.outcomes, tuple[dal.Message | dal.DalError, ...])
    opened = session.open(latest=5)
    assert_type(opened, dal.Opened)
    assert_type(opened.record, dal.SessionRecord | None)
    metadata: dal.Metadata = session.metadata
    assert_type(session.update_metadata(metadata), dal.SessionRecord)
    assert_type(session.update_metadata({}, remove=["title"], touch=False), dal.SessionRecord)
    assert_type(session.annotate("m", {"rating": 5}), dal.Message)
    assert_type(session.redact("m"), dal.Message)
    try:
        assert_type(session.append("user", "hello", if_next=7, session_metadata={"title": "x"}), dal.Message)
    except dal.Overtaken as overtaken:
        assert_type(overtaken.next_sequence, int)
    assert_type(session.stream(), Generator[dal.Message, None, None])
    assert_type(store.export(since=datetime.now(UTC)), Generator[bytes, None, None])
    assert_type(store.import_([b"{}", "{}"]), dal.Imported)
    with Path("all.jsonl").open("rb") as lines:
        store.import_(lines)
    dal.SessionStore("postgresql:///")  # type: ignore[arg-type]
    dal.SessionStore(pool, hook=lambda: None)  # type: ignore[arg-type,misc]
    _ = store.runner  # type: ignore[attr-defined]


def query_files(connection: psycopg.Connection) -> None:
    latest = dal.queries.messages.latest
    assert_type(latest(connection, session_id="chat-1", limit=20), list[dal.Message])
    assert_type(dal.queries.sessions.get(connection, session_id="chat-1"), dal.SessionRecord | None)
    idle = datetime.now(UTC)
    deleted = dal.queries.sessions.delete_idle(
        connection, idle_since=idle, statuses=["active"], passed_over=0, limit=5, message_limit=None, patience=None
    )
    assert_type(deleted, list[IdleSession])
    stored = dal.queries.messages.append(
        connection,
        session_id="chat-1",
        source=None,
        user_id="u1",
        parent_id=None,
        session_metadata="{}",
        message_id="m",
        role="user",
        agent_id=None,
        content="hello",
        metadata=Jsonb({"tokens": 7}),
        if_next=None,
        must_exist=False,
        session_changes=None,
    )
    assert_type(stored, Appended | None)
    assert_type(latest.sql, bytes)
    assert_type(list(dal.queries), list[str])
    latest(connection, session_id="chat-1")  # type: ignore[call-arg]
    latest(connection, session_id="chat-1", limit=20, offset=1)  # type: ignore[call-arg]
    latest(connection, session_id="chat-1", limit="all")  # type: ignore[arg-type]
    latest(connection, session_id=None, limit=20)  # type: ignore[arg-type]
    latest("postgresql:///", session_id="chat-1", limit=20)  # type: ignore[arg-type]
    _ = dal.queries.messages.newest  # type: ignore[attr-defined]
    _ = dal.queries.message  # type: ignore[attr-defined]


async def asynchronous(connection: psycopg.AsyncConnection, pool: AsyncConnectionPool) -> None:
    async with dal.AsyncSessionStore.connect("postgresql:///") as store:
        assert_type(store, dal.AsyncSessionStore)
    dal.AsyncSessionStore(pool)
    store = dal.AsyncSessionStore(connection)
    latest = dal.async_queries.messages.latest
    assert_type(await latest(connection, session_id="chat-1", limit=20), list[dal.Message])
    await latest(connection, session_id="chat-1")  # type: ignore[call-arg]
    session = store.session()
    assert_type(await session.append("user", "hello"), dal.Message)
    assert_type(await session.latest(), tuple[dal.Message, ...])
    assert_type(await session.reset(), dal.AsyncSession)
    assert_type(await session.fork(), dal.AsyncSession)
    assert_type(await store.sessions(), dal.SessionPage)
    async with store.transaction() as inside:
        assert_type(inside, dal.AsyncSessionStore)
    assert_type(await cost_of(connection, session.latest, commit=True), Cost)
    assert_type(session.stream(), AsyncGenerator[dal.Message])
    assert_type(store.export(), AsyncGenerator[bytes])
    async with store.writer() as writer:
        assert_type(await writer.import_(store.export()), dal.Imported)
    dal.AsyncSessionStore(ConnectionPool[Any](""))  # type: ignore[arg-type]
