"""The asynchronous session: it exists only in memory until its first message."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import IsolationLevel

from dal import validate
from dal._async.annotating import change_message
from dal._async.forking import FORK, store_fork
from dal._async.queries import AsyncQuery, async_queries
from dal._async.removing import remove_from, remove_last, replace_from
from dal.appends import (
    UNCONDITIONAL,
    Append,
    CheckedMessage,
    Conditions,
    Opening,
    check_call,
    check_message,
    check_new,
)
from dal.errors import (
    DalError,
    InvalidInput,
    Overtaken,
    PartlyRefused,
    SessionArchived,
    SessionDeleted,
    SessionExists,
    SessionNotFound,
    SessionTrashed,
    StatementFailed,
)
from dal.histories.pages import PAGE
from dal.ids import new_id
from dal.records import (
    DELETED,
    LISTED,
    Change,
    CreatedSession,
    Message,
    Metadata,
    NewMessage,
    Opened,
    RemovedMessage,
    SessionRecord,
)
from dal.retries import Attempts

if TYPE_CHECKING:
    from dal._async.backend import AsyncBackend
    from dal._async.store import AsyncSessionStore


class AsyncSession:
    """One session. Opening it sends nothing; its first message stores it.

    `AsyncSessionStore.session` creates it. It holds no connection, and can be used as long as its store.
    """

    __slots__ = (
        "_backend",
        "_existing",
        "_may_be_stored",
        "_opening",
        "_store",
        "id",
        "metadata",
        "parent_id",
        "persisted",
        "source",
        "user_id",
    )

    def __init__(  # noqa: PLR0913 - as AsyncSessionStore.session
        self,
        store: AsyncSessionStore,
        session_id: str | None,
        *,
        source: str | None,
        user_id: str | None,
        parent_id: str | None,
        metadata: Metadata | None,
        existing: bool,
    ) -> None:
        self._store = store
        self._backend = store._backend
        self.id = new_id() if session_id is None else validate.identifier("session_id", session_id)
        self.source = validate.optional_identifier("source", source)
        self.user_id = validate.user(user_id, self._backend.owner)
        self.parent_id = validate.optional_identifier("parent_id", parent_id)
        session_metadata = validate.optional_metadata("metadata", metadata)
        self.metadata: Metadata = dict(metadata or {})
        self.persisted = False
        """True once this object has seen that the session is stored.

        An append sets it, and so does an `open`, a `record` or a change that finds the session; `delete` clears it. A
        refused append does not change it. So False means "not known", not "not stored".
        """
        self._existing = validate.flag("existing", existing)
        self._may_be_stored = session_id is not None
        self._opening = Opening(self.source, self.user_id, self.parent_id, session_metadata)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}{'' if self.persisted else ', not known to be stored'}>"

    async def append(  # noqa: PLR0913 - a message's fields
        self,
        role: str,
        content: str,
        *,
        agent_id: str | None = None,
        metadata: Metadata | None = None,
        message_id: str | None = None,
        session_metadata: Metadata | None = None,
        if_next: int | None = None,
    ) -> Message:
        """Store a message, and the session with its first one; return the message with its number.

        To repeat an append whose reply was lost, use the same message_id: if the message is already stored, this
        returns it. If the stored message has other content, this raises MessageConflict.

        The keys of `session_metadata` are merged into the session's metadata, together with the message or not at all.
        With `if_next`, the message is stored only if it gets this number; otherwise this raises Overtaken.
        """
        sanitize = self._backend.sanitize
        message = check_message(role, content, agent_id, metadata, message_id, sanitize=sanitize)
        return (await self._send(self._prepare([message], session_metadata, if_next)))[0]

    async def append_all(
        self,
        messages: Iterable[NewMessage],
        *,
        session_metadata: Metadata | None = None,
        if_next: int | None = None,
    ) -> tuple[Message, ...]:
        """Store several messages in order, all or none, as `append` stores one; `if_next` is the first one's number."""
        append = self._checked(messages, session_metadata, if_next)
        if not append.messages and session_metadata is not None:
            raise InvalidInput("messages", "is empty; without a message, call update_metadata")
        return await self._send(append) if append.messages else ()

    async def open(self, latest: int = 20) -> Opened:
        """Read the start of a turn in one round trip: the record, the latest messages, and the agents."""
        limit = validate.number("latest", latest, least=0)
        rows = await self._run(async_queries.sessions.open, limit=limit)
        if not rows:
            return Opened(None, (), ())
        self.persisted = True
        messages = tuple(row.message for row in rows if row.sequence is not None)
        return Opened(rows[-1].record, messages, tuple(rows[-1].agent_ids))

    async def latest(self, limit: int = 20) -> tuple[Message, ...]:
        """Read the latest messages, in reading order."""
        return tuple(await self._run(async_queries.messages.latest, limit=validate.number("limit", limit, least=0)))

    async def messages(
        self, *, after: int | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[Message, ...]:
        """Read a page of messages in reading order: from the start, or after or before a sequence number."""
        most = validate.number("limit", limit, least=0)
        if before is None:
            start = -1 if after is None else validate.number("after", after, least=-1)
            page = await self._run(async_queries.messages.after, after=start, limit=most)
        elif after is None:
            end = validate.number("before", before, least=0)
            page = await self._run(async_queries.messages.before, before=end, limit=most)
        else:
            raise InvalidInput("before", "cannot be given together with after; ask for one of them")
        return tuple(page)

    async def stream(self) -> AsyncGenerator[Message]:
        """Yield every message in reading order, from one snapshot, however many there are.

        The stream reads a page at a time on a connection of its own, until it ends or is closed: if you leave it early,
        use contextlib.aclosing. A store on a single connection can do nothing else in the meantime.
        """
        query, last = async_queries.messages.stream, -1
        runner, owner = self._backend.runner, self._backend.owner
        transaction = runner.exclusive_transaction("stream", IsolationLevel.REPEATABLE_READ, read_only=True)
        async with transaction as (_, snapshot):
            while page := await snapshot.run(query, session_id=self.id, owner=owner, after=last, limit=PAGE):
                for message in page:
                    yield message
                last = page[-1].sequence

    async def message(self, message_id: str) -> Message | None:
        """Read one message by its id; None if the session has no such message."""
        checked = validate.identifier("message_id", message_id)
        found: Message | None = await self._run(async_queries.messages.get, message_id=checked)
        return found

    async def remove_from(self, sequence: int, *, if_next: int | None = None, keep: bool = True) -> int:
        """Remove the messages from a sequence number on, and return how many. Their numbers are not used again.

        `removed` lists them; with `keep=False` they are deleted at once. Messages that others append at the same moment
        stay. With `if_next`, nothing is removed unless the session's next number is this one; otherwise this raises
        Overtaken.
        """
        return await remove_from(self, sequence, if_next=if_next, keep=keep)

    async def remove_last(self, n: int = 1, *, if_next: int | None = None, keep: bool = True) -> tuple[Message, ...]:
        """Remove the last `n` messages, or as many as there are, and return them in reading order.

        No two calls return the same message. The rest is as in `remove_from`.
        """
        return await remove_last(self, n, if_next=if_next, keep=keep)

    async def replace_from(
        self,
        sequence: int,
        messages: Iterable[NewMessage],
        *,
        session_metadata: Metadata | None = None,
        if_next: int | None = None,
        keep: bool = True,
    ) -> tuple[Message, ...]:
        """Remove the messages from a sequence number on, append others in their place, and return these.

        Both happen at once, or not at all. The new messages get new numbers, and may have the ids of the removed ones.
        Of two replacements at the same time, the later one replaces the messages of the other, unless `if_next` refuses
        that. The rest is as in `remove_from` and `append_all`.
        """
        return await replace_from(self, sequence, self._checked(messages, session_metadata, if_next), keep=keep)

    async def removed(self, *, before: int | None = None, limit: int = 100) -> tuple[RemovedMessage, ...]:
        """Read removed messages in reading order: those with the highest numbers, or with the highest before a number.

        `store.purge` deletes them.
        """
        most = validate.number("limit", limit, least=0)
        end = validate.MAX_NUMBER if before is None else validate.number("before", before, least=0)
        return tuple(await self._run(async_queries.messages.removed, before=end, limit=most))

    async def changes(self, *, after: int = 0, limit: int = 100) -> tuple[Change, ...]:
        """Read the changes after a revision, in order. Appends are not among them.

        They are kept for about an hour. If the first one has a revision of more than after + 1, older ones are missing:
        then read the session anew.
        """
        most = validate.number("limit", limit, least=0)
        revision = validate.number("after", after, least=0)
        return tuple(await self._run(async_queries.sessions.changes, after=revision, limit=most))

    async def agent_ids(self) -> tuple[str, ...]:
        """List the agents of the session, in order of first appearance."""
        return (await self._store.agent_ids([self.id]))[self.id]

    async def record(self) -> SessionRecord:
        """Read the session's own row."""
        return await self._record(async_queries.sessions.get)

    async def pause(self) -> SessionRecord:
        """Mark the session as paused; messages are still accepted."""
        return await self._change(async_queries.sessions.pause, ("paused",), refusing=("archived", "trashed"))

    async def resume(self) -> SessionRecord:
        """Mark the session as active again."""
        return await self._change(async_queries.sessions.resume, ("active",), refusing=("archived", "trashed"))

    async def archive(self, *, if_next: int | None = None) -> SessionRecord:
        """End the session for good: no more messages can be appended or removed.

        With `if_next`, the session is archived only if this is its next number; otherwise this raises Overtaken.
        """
        wanted = validate.next_number(if_next)
        return await self._change(async_queries.sessions.archive, ("archived",), refusing=("trashed",), if_next=wanted)

    async def trash(self) -> SessionRecord:
        """Put the session into the trash: lists leave it out, and nothing can change it until it is restored.

        It can still be read by its id, and deleted. `store.delete_idle(before, status="trashed")` empties the trash.
        """
        return await self._change(async_queries.sessions.trash, ("trashed",))

    async def restore(self) -> SessionRecord:
        """Take the session out of the trash. It is as it was before: its status, its times and its place in lists."""
        return await self._change(async_queries.sessions.restore, LISTED)

    async def update_metadata(
        self, metadata: Metadata, *, remove: Iterable[str] = (), touch: bool = True
    ) -> SessionRecord:
        """Remove keys from the session's metadata and merge others into it; this works for archived sessions, too.

        Without `touch`, the session keeps its updated_at and its place in lists: for titles that are generated in the
        background.
        """
        query = async_queries.sessions.update_metadata
        record = await self._record(
            query,
            change_id=new_id(),
            metadata=validate.metadata("metadata", metadata),
            remove=validate.keys("remove", remove),
            touch=validate.flag("touch", touch),
        )
        if record.status == "trashed":
            raise self._is_over(record, query.name, "update the metadata of")
        return record

    async def annotate(self, message_id: str, metadata: Metadata) -> Message:
        """Merge these keys into a message's metadata, and return it as it is stored now.

        It is for what is known later, such as feedback or usage, so it works for archived sessions, too. The session
        keeps its place in lists.
        """
        changes = validate.metadata("metadata", metadata)
        return await change_message(self, async_queries.messages.annotate, message_id, metadata=changes)

    async def redact(self, message_id: str, content: str = "") -> Message:
        """Overwrite a message's content and clear its metadata, and return it as it is stored now.

        Its removed versions are overwritten, too. It works for archived and trashed sessions. The session keeps its
        place in lists. Copies in forks are messages of their own.
        """
        new = validate.content("content", content, self._backend.sanitize)
        return await change_message(self, async_queries.messages.redact, message_id, content=new)

    async def create(self, *, again: bool = False) -> SessionRecord:
        """Store the session without a message, and return its record.

        If it is already stored with the same source, user, parent and metadata, this returns its record; if with other
        values, it raises SessionExists. If it was deleted, it raises SessionDeleted. With `again`, it then begins
        another session with this id, whose numbers continue those of the deleted one. A store that is confined to a
        user cannot do that, since it cannot know whose the deleted session was.
        """
        query, opening = async_queries.sessions.create, self._opening
        wanted = {
            "source": opening.source,
            "user_id": opening.user_id,
            "parent_id": opening.parent_id,
            "session_metadata": opening.json_metadata,
            "again": validate.flag("again", again) and self._backend.owner is None,
        }
        self._may_be_stored = True
        created: CreatedSession | None = None
        for _ in range(2):  # If another transaction created it at this moment, only a second statement sees it.
            created = created or await self._run(query, **wanted)
        if created is None:
            raise await self._why_nothing(query.name, "create")
        if not created.is_same:
            raise self._exists(query.name)
        self.persisted = True
        return created.record

    async def delete(self) -> bool:
        """Delete the session and its messages. A tombstone keeps an append in flight from creating it again.

        Return False if the session was never stored. If it was deleted before, return True again, so that a repeated
        delete has the same outcome. But a store that is confined to a user cannot know whose the deleted session was,
        and returns False.
        """
        deleted = await self._run(async_queries.sessions.delete)
        self.persisted = False
        if deleted is not None:
            return True
        found: SessionRecord | None = await self._run(async_queries.sessions.get)
        return found is not None and found.status == DELETED

    async def reset(self, *, metadata: Metadata | None = None) -> AsyncSession:
        """Archive this session if it is stored, and return a new one that continues it.

        The new session has the same source and user, and this one as its parent; its first message stores it. If this
        session is not stored, the new one gets this one's parent instead.
        """
        validate.optional_metadata("metadata", metadata)  # Before the archive.
        stored: SessionRecord | None = None
        if self._may_be_stored:
            archive = async_queries.sessions.archive
            stored = await self._change_if_stored(archive, ("archived",), refusing=("trashed",), if_next=None)
        return self._store.session(
            source=stored.source if stored else self.source,
            user_id=stored.user_id if stored else self.user_id,
            parent_id=stored.session_id if stored else self.parent_id,
            metadata=metadata,
        )

    async def fork(
        self, at: int | None = None, *, session_id: str | None = None, metadata: Metadata | None = None
    ) -> AsyncSession:
        """Store a new session with this one's messages before the number `at`, by default all, and return it.

        The messages keep their numbers, ids and times. The new session has the same source and user, this one as its
        parent, and metadata of its own. An archived session can be forked, too. To repeat a fork whose reply was lost,
        use the same session_id and `at`: if that fork is already stored, this returns it. If the session_id is taken by
        another session, this raises SessionExists.
        """
        fork_id = new_id() if session_id is None else validate.identifier("session_id", session_id)
        given = validate.optional_metadata("metadata", metadata)
        record = await store_fork(self._backend, self.id, at, fork_id, given)
        if record is None:
            raise await self._why_nothing(FORK.name, "fork", Conditions(must_exist=True))
        opening = {name: getattr(record, name) for name in ("source", "user_id", "parent_id", "metadata")}
        fork = self._store.session(fork_id, **opening)
        fork.persisted = True
        return fork

    async def _run(self, query: AsyncQuery, attempts: Attempts | None = None, /, **parameters: Any) -> Any:
        """Run a query file on this session, confined to the store's user."""
        backend = self._backend
        return await backend.runner.run(query, attempts, session_id=self.id, owner=backend.owner, **parameters)

    def _prepare(
        self, messages: Sequence[CheckedMessage], changes: Metadata | None = None, if_next: int | None = None
    ) -> Append:
        """Make an append that is about to be sent."""
        opening, conditions = self._opening, UNCONDITIONAL
        if changes is not None or if_next is not None or self._existing:
            conditions = Conditions(
                validate.next_number(if_next),
                self._existing,
                None if changes is None else validate.metadata("session_metadata", changes),
            )
        if changes:  # A new session has them from the beginning.
            merged = validate.metadata("session_metadata", {**self.metadata, **changes})
            opening = opening._replace(json_metadata=merged)
        self._may_be_stored = True
        return Append(self.id, self._backend.owner, opening, messages, conditions)

    def _checked(self, messages: Iterable[NewMessage], changes: Metadata | None, if_next: int | None) -> Append:
        """Check the messages of a call, and make an append of them."""
        new = validate.new_messages("messages", messages)
        checked = [check_new(f"messages[{n}].", one, self._backend.sanitize) for n, one in enumerate(new)]
        check_call("messages", checked)
        return self._prepare(checked, changes, if_next)

    async def _send(self, append: Append) -> tuple[Message, ...]:
        await self._backend.appends.send(append)
        if not append.is_stored:
            raise await self._refusal(append)
        self.persisted = True
        return append.stored

    async def _refusal(self, append: Append) -> DalError:
        """Return the error of an append that stored nothing."""
        return append.conflict or await self._why_nothing(append.query, "append to", append.conditions)

    async def _record(self, query: AsyncQuery, **parameters: Any) -> SessionRecord:
        """Run a query that returns the session's row."""
        record: SessionRecord | None = await self._run(query, **parameters)
        if record is None and query is async_queries.sessions.get:
            raise self._is_not_found(query.name)
        if record is None:
            raise await self._why_nothing(query.name)
        if record.status == DELETED:
            raise self._is_deleted(query.name)
        self.persisted = True
        return record

    async def _change(
        self, query: AsyncQuery, becomes: Collection[str], *, refusing: Collection[str] = (), **conditions: Any
    ) -> SessionRecord:
        """Change the session's status, which `becomes` one of these; some statuses are `refusing` the change."""
        record = await self._change_if_stored(query, becomes, refusing=refusing, **conditions)
        if record is None:
            raise await self._why_nothing(query.name)
        return record

    async def _change_if_stored(
        self, query: AsyncQuery, becomes: Collection[str], *, refusing: Collection[str], **conditions: Any
    ) -> SessionRecord | None:
        record: SessionRecord | None = await self._run(query, change_id=new_id(), **conditions)
        if record is None:
            return None
        if record.status == DELETED:
            raise self._is_deleted(query.name)
        self.persisted = True
        action, if_next = query.name.removeprefix("sessions."), conditions.get("if_next")
        if record.status in refusing:
            raise self._is_over(record, query.name, action)
        if if_next not in {None, record.next_sequence}:
            raise self._is_overtaken(record.next_sequence, if_next, query.name, action)
        if record.status not in becomes:
            raise self._is_suppressed(query.name)
        return record

    async def _why_nothing(
        self, query: str, action: str | None = None, conditions: Conditions = UNCONDITIONAL
    ) -> DalError:
        """Find out why a statement returned no row; `action` is an action that an archived session refuses."""
        found: SessionRecord | None = await self._run(async_queries.sessions.get)
        is_open = found is not None and found.status in {"active", "paused"}
        if action is not None and (found is None or is_open):
            await self._backend.runner.check()  # Since the check, a temporary table may hide the real one.
        if found is not None and found.status == DELETED:
            return self._is_deleted(query)
        if found is not None and action is not None and not is_open:
            return self._is_over(found, query, action)
        next_sequence = 0 if found is None else found.next_sequence
        # With if_next=0, a session that is not stored would have been created.
        is_overtaken = found is not None or (conditions.if_next != 0 and not conditions.must_exist)
        if conditions.if_next is not None and is_overtaken:
            return self._is_overtaken(next_sequence, conditions.if_next, query, action)
        if found is None and (action is None or self._backend.owner is not None or conditions.must_exist):
            return self._is_not_found(query)
        return self._is_suppressed(query)

    def _is_not_found(self, query: str) -> SessionNotFound:
        owner = self._backend.owner
        why = "a session is stored with its first message" if owner is None else "or is another user's"
        return SessionNotFound(f"session {self.id!r} is not stored{':' if owner is None else ','} {why}", query=query)

    def _is_deleted(self, query: str) -> SessionDeleted:
        return SessionDeleted(
            f"session {self.id!r} was deleted; to begin another one with this id, call create(again=True)", query=query
        )

    def _exists(self, query: str) -> SessionExists:
        return SessionExists(
            f"session {self.id!r} is already stored with another source, user, parent or metadata; give the same "
            "values, or another id",
            query=query,
        )

    def _is_overtaken(self, next_sequence: int, if_next: int | None, query: str, action: str | None) -> Overtaken:
        return Overtaken(
            f"cannot {action} session {self.id!r}: its next number was not {if_next}, and is {next_sequence} now; "
            "read what was appended, and decide again",
            next_sequence=next_sequence,
            query=query,
        )

    def _is_suppressed(self, query: str) -> StatementFailed:
        return StatementFailed(
            f"session {self.id!r} was not changed as asked: a trigger of your own on sessions or messages "
            "suppressed a row (see pg_trigger), or someone else changed or deleted the session at this moment",
            query=query,
        )

    def _is_over(self, found: SessionRecord, query: str, action: str) -> DalError:
        """Return the error of a session that is archived or trashed."""
        if found.status == "trashed":
            return SessionTrashed(
                f"cannot {action} session {self.id!r}: it is in the trash; restore() brings it back", query=query
            )
        return SessionArchived(
            f"cannot {action} session {self.id!r}: it is archived, which is final; reset() begins a new one",
            query=query,
        )


async def append_to_each(
    store: AsyncSessionStore, messages: Iterable[tuple[AsyncSession, NewMessage]]
) -> tuple[Message, ...]:
    """Store messages of several sessions of a store in one statement; PartlyRefused has the outcome of each."""
    backend, checked = store._backend, list[tuple[AsyncSession, CheckedMessage]]()
    for n, (session, new) in enumerate(validate.pairs("messages", messages)):
        if not isinstance(session, AsyncSession) or session._store is not store:
            raise InvalidInput(f"messages[{n}]", "must begin with a session that this store has opened")
        checked.append((session, check_new(f"messages[{n}].", new, backend.sanitize)))
    check_call("messages", [message for _, message in checked], [session.id for session, _ in checked])
    outcomes = await _outcomes(backend, checked) if checked else []
    stored = tuple(one for one in outcomes if isinstance(one, Message))
    if len(stored) < len(outcomes):
        raise PartlyRefused(outcomes)
    return stored


async def _outcomes(
    backend: AsyncBackend, messages: Sequence[tuple[AsyncSession, CheckedMessage]]
) -> list[Message | DalError]:
    places: dict[str, list[int]] = {}
    for n, (session, _) in enumerate(messages):
        places.setdefault(session.id, []).append(n)
    sessions = [messages[of[0]][0] for of in places.values()]
    appends = [
        session._prepare([messages[n][1] for n in of]) for session, of in zip(sessions, places.values(), strict=True)
    ]
    await backend.appends.send_all(appends)
    outcomes: dict[int, Message | DalError] = {}
    for session, append, of in zip(sessions, appends, places.values(), strict=True):
        if append.is_stored:
            session.persisted = True
            outcomes |= zip(of, append.stored, strict=True)
        else:
            outcomes |= dict.fromkeys(of, await session._refusal(append))
    return [outcomes[n] for n in range(len(messages))]
