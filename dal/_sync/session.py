# Generated from dal/_async/session.py by .ci/async_to_sync.py: change that file, and run it.
"""The synchronous session. Until its first message, it exists only in memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from psycopg import IsolationLevel

from dal import refusals, validate
from dal._sync.appending import prepare, prepare_all, send
from dal._sync.changing import change_if_stored, change_message, change_session
from dal._sync.creating import create_session, store_fork
from dal._sync.listing import list_agents
from dal._sync.queries import Query, queries
from dal._sync.removing import remove_from, remove_last, replace_from
from dal.appends import UNCONDITIONAL, Conditions, Opening, Target, check_message
from dal.errors import DalError, InvalidInput
from dal.histories.pages import PAGE
from dal.ids import new_id
from dal.own_writes import OwnWrites
from dal.records import (
    DELETED,
    LISTED,
    OPEN,
    Change,
    Message,
    Metadata,
    NewMessage,
    Opened,
    RemovedMessage,
    SessionRecord,
)
from dal.retries import Attempts

if TYPE_CHECKING:
    from dal._sync.store import SessionStore


class Session:
    """One session. Opening it sends nothing; its first message stores it.

    `SessionStore.session` creates it. It holds no connection, and can be used as long as its store.
    """

    __slots__ = (
        "_backend",
        "_may_be_stored",
        "_store",
        "_target",
        "_writes",
        "id",
        "metadata",
        "parent_id",
        "persisted",
        "source",
        "user_id",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - as SessionStore.session
        self,
        store: SessionStore,
        session_id: str | None,
        source: str | None,
        user_id: str | None,
        parent_id: str | None,
        metadata: Metadata | None,
        *,
        existing: bool,
        at_least: int | None,
    ) -> None:
        self._store = store
        self._backend = store._backend
        self.id = new_id() if session_id is None else validate.identifier("session_id", session_id)
        self.source = validate.optional_identifier("source", source)
        self.user_id = validate.user(user_id, self._backend.owner)
        self.parent_id = validate.optional_identifier("parent_id", parent_id)
        opening: Opening = {
            "session_id": self.id,
            "owner": self._backend.owner,
            "source": self.source,
            "user_id": self.user_id,
            "parent_id": self.parent_id,
            "session_metadata": validate.optional_metadata("metadata", metadata),
        }
        self.metadata: Metadata = dict(metadata or {})
        self.persisted = False
        """True once this object has seen that the session is stored.

        An append sets it, and so does an `open`, a `record` or a change that finds the session; `delete` clears it. A
        refused append does not change it. So False means "not known", not "not stored".
        """
        self._target = Target(opening, Conditions(must_exist=validate.flag("existing", existing)))
        self._may_be_stored = session_id is not None
        number = None if at_least is None else validate.number("at_least", at_least, least=0)
        self._writes = None if self._backend.standby is None else OwnWrites(self.id, number)
        """Without a standby, every read shows them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}{'' if self.persisted else ', not known to be stored'}>"

    def append(  # noqa: PLR0913 - a message's fields
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
        append = prepare(self, [message], session_metadata, if_next)
        send(self, append)
        return message.stored(self.id, append.rows[0])

    def append_all(
        self,
        messages: Iterable[NewMessage],
        *,
        session_metadata: Metadata | None = None,
        if_next: int | None = None,
    ) -> tuple[Message, ...]:
        """Store several messages in order, all or none, and return them.

        The rest is as in `append`; `if_next` is the number of the first message.
        """
        append = prepare_all(self, messages, session_metadata, if_next)
        if not append.messages and session_metadata is not None:
            raise InvalidInput("messages", "is empty; without a message, call update_metadata")
        if append.messages:
            send(self, append)
        return append.stored

    def open(self, latest: int = 20) -> Opened:
        """Read the record, the latest messages and the agents in one round trip, at the start of a turn."""
        limit = validate.number("latest", latest, least=0)
        rows = self._read(queries.sessions.open, limit=limit)
        if not rows:
            return Opened(None, (), ())
        self.persisted = True
        messages = tuple(row.message for row in rows if row.sequence is not None)
        return Opened(rows[-1].record, messages, tuple(rows[-1].agent_ids))

    def latest(self, limit: int = 20) -> tuple[Message, ...]:
        """Read the latest messages, in reading order."""
        return tuple(self._read(queries.messages.latest, limit=validate.number("limit", limit, least=0)))

    def messages(self, *, after: int | None = None, before: int | None = None, limit: int = 100) -> tuple[Message, ...]:
        """Read a page of messages in reading order: from the start, or after or before a sequence number."""
        most = validate.number("limit", limit, least=0)
        if before is None:
            start = -1 if after is None else validate.number("after", after, least=-1)
            return tuple(self._read(queries.messages.after, after=start, limit=most))
        if after is not None:
            raise InvalidInput("before", "cannot be given together with after; ask for one of them")
        end = validate.number("before", before, least=0)
        return tuple(self._read(queries.messages.before, before=end, limit=most))

    def stream(self) -> Generator[Message, None, None]:
        """Yield every message in reading order, from one snapshot, however many there are.

        The stream reads a page at a time on a connection of its own, until it ends or is closed: if you leave it early,
        use contextlib.closing. A store on a single connection can do nothing else in the meantime.
        """
        query, last = queries.messages.stream, -1
        runner, owner = self._backend.runner, self._backend.owner
        transaction = runner.exclusive_transaction("stream", IsolationLevel.REPEATABLE_READ, read_only=True)
        with transaction as (_, snapshot):
            while page := snapshot.run(query, session_id=self.id, owner=owner, after=last, limit=PAGE):
                for message in page:
                    yield message
                last = page[-1].sequence

    def message(self, message_id: str) -> Message | None:
        """Read one message by its id; None if the session has no such message."""
        checked = validate.identifier("message_id", message_id)
        found: Message | None = self._read(queries.messages.get, message_id=checked)
        return found

    def remove_from(self, sequence: int, *, if_next: int | None = None, keep: bool = True) -> int:
        """Remove the messages from a sequence number on, and return how many. Their numbers are not used again.

        `removed` lists them; with `keep=False` they are deleted at once. Messages that others append at the same moment
        stay. With `if_next`, nothing is removed unless the session's next number is this one; otherwise this raises
        Overtaken.
        """
        return remove_from(self, sequence, if_next=if_next, keep=keep)

    def remove_last(self, n: int = 1, *, if_next: int | None = None, keep: bool = True) -> tuple[Message, ...]:
        """Remove the last `n` messages, or as many as there are, and return them in reading order.

        No two calls return the same message. The rest is as in `remove_from`.
        """
        return remove_last(self, n, if_next=if_next, keep=keep)

    def replace_from(
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
        Of two replacements at the same time, the later one replaces the messages of the other, unless `if_next`
        prevents that. The rest is as in `remove_from` and `append_all`.
        """
        return replace_from(self, sequence, prepare_all(self, messages, session_metadata, if_next), keep=keep)

    def removed(self, *, before: int | None = None, limit: int = 100) -> tuple[RemovedMessage, ...]:
        """Read a page of removed messages in reading order: the last ones, or the last ones before a sequence number.

        `store.purge` deletes them.
        """
        most = validate.number("limit", limit, least=0)
        end = validate.MAX_NUMBER if before is None else validate.number("before", before, least=0)
        return tuple(self._read(queries.messages.removed, before=end, limit=most))

    def changes(self, *, after: int = 0, limit: int = 100) -> tuple[Change, ...]:
        """Read the changes after a revision, in order. Appends are not among them.

        They are kept for about an hour. If the first one has a revision greater than after + 1, changes before it are
        missing: then read the whole session again.
        """
        most = validate.number("limit", limit, least=0)
        revision = validate.number("after", after, least=0)
        return tuple(self._read(queries.sessions.changes, after=revision, limit=most))

    def agent_ids(self) -> tuple[str, ...]:
        """List the agents of the session, in order of first appearance."""
        return (list_agents(self._backend, [self.id], self._writes))[self.id]

    def record(self) -> SessionRecord:
        """Read the session's own row."""
        query = queries.sessions.get
        record: SessionRecord | None = self._read(query)
        if record is None or record.status == DELETED:
            raise self._missing(query.name, record)
        self.persisted = True
        return record

    def pause(self) -> SessionRecord:
        """Mark the session as paused; messages are still accepted."""
        return change_session(self, queries.sessions.pause, ("paused",), refusing=("archived", "trashed"))

    def resume(self) -> SessionRecord:
        """Mark the session as active again."""
        return change_session(self, queries.sessions.resume, ("active",), refusing=("archived", "trashed"))

    def archive(self, *, if_next: int | None = None) -> SessionRecord:
        """End the session for good: no more messages can be appended or removed.

        With `if_next`, the session is archived only if this is its next number; otherwise this raises Overtaken.
        """
        wanted = validate.next_number(if_next)
        return change_session(self, queries.sessions.archive, ("archived",), refusing=("trashed",), if_next=wanted)

    def trash(self) -> SessionRecord:
        """Put the session into the trash: lists leave it out, and nothing can change it until it is restored.

        It can still be read by its id, and deleted. `store.delete_idle(before, status="trashed")` empties the trash.
        """
        return change_session(self, queries.sessions.trash, ("trashed",))

    def restore(self) -> SessionRecord:
        """Take the session out of the trash. It is as it was before: its status, its times and its place in lists."""
        return change_session(self, queries.sessions.restore, LISTED)

    def update_metadata(self, metadata: Metadata, *, remove: Iterable[str] = (), touch: bool = True) -> SessionRecord:
        """Remove keys from the session's metadata and merge others into it; this works for archived sessions, too.

        Without `touch`, the session keeps its updated_at and its place in lists. Use that for a title that is generated
        in the background, for example.
        """
        return change_session(
            self,
            queries.sessions.update_metadata,
            refusing=("trashed",),
            action="update the metadata of",
            metadata=validate.metadata("metadata", metadata),
            remove=validate.keys("remove", remove),
            touch=validate.flag("touch", touch),
        )

    def annotate(self, message_id: str, metadata: Metadata) -> Message:
        """Merge these keys into a message's metadata, and return it as it is stored now.

        Use it for details that are known only later, such as feedback or usage. It works for archived sessions, too.
        The session keeps its place in lists.
        """
        changes = validate.metadata("metadata", metadata)
        return change_message(self, queries.messages.annotate, message_id, metadata=changes)

    def redact(self, message_id: str, content: str = "") -> Message:
        """Overwrite a message's content and clear its metadata, and return it as it is stored now.

        Its removed versions are overwritten, too. It works for archived and trashed sessions. The session keeps its
        place in lists. Copies in forks are messages of their own.
        """
        new = validate.content("content", content, self._backend.sanitize)
        return change_message(self, queries.messages.redact, message_id, content=new)

    def create(self, *, again: bool = False) -> SessionRecord:
        """Store the session without a message, and return its record.

        If the session is already stored with the same source, user, parent and metadata, this returns its record; with
        other values, this raises SessionExists. If the session was deleted, this raises SessionDeleted, unless `again`
        is true: then it begins another session with this id, whose numbers continue those of the deleted one. A store
        that is confined to a user cannot do that, since it cannot know who owned the deleted session.
        """
        return create_session(self, again=again)

    def delete(self) -> bool:
        """Delete the session and its messages. A tombstone keeps an append in flight from creating it again.

        Return False if the session was never stored. If it was deleted before, return True again, so that a repeated
        delete has the same outcome. But a store that is confined to a user then returns False, since it cannot know who
        owned the deleted session.
        """
        runner = self._backend.runner
        attempts = runner.attempts()
        deleted = self._run(queries.sessions.delete, attempts)
        self.persisted = False
        if deleted is not None:
            return True
        found: SessionRecord | None = self._run(queries.sessions.get, runner.attempts_after(attempts))
        return found is not None and found.status == DELETED

    def reset(self, *, metadata: Metadata | None = None) -> Session:
        """Archive this session if it is stored, and return a new one that continues it.

        The new session has the same source and user, and this one as its parent; its first message stores it. If this
        session is not stored, the new one gets this one's parent instead.
        """
        validate.optional_metadata("metadata", metadata)  # Before the archive.
        stored: SessionRecord | None = None
        if self._may_be_stored or self.persisted:
            archive = queries.sessions.archive
            stored = change_if_stored(self, archive, ("archived",), refusing=("trashed",), if_next=None)
        return self._store.session(
            source=stored.source if stored else self.source,
            user_id=stored.user_id if stored else self.user_id,
            parent_id=stored.session_id if stored else self.parent_id,
            metadata=metadata,
        )

    def fork(
        self, at: int | None = None, *, session_id: str | None = None, metadata: Metadata | None = None
    ) -> Session:
        """Store a new session with this one's messages before the number `at`, by default all, and return it.

        The messages keep their numbers, ids and times. The new session has the same source and user, this one as its
        parent, and metadata of its own. An archived session can be forked, too. To repeat a fork whose reply was lost,
        use the same session_id and `at`: if that fork is already stored, this returns it. If the session_id is taken by
        another session, this raises SessionExists.
        """
        fork_id = new_id() if session_id is None else validate.identifier("session_id", session_id)
        given = validate.optional_metadata("metadata", metadata)
        record = store_fork(self, at, fork_id, given)
        opening = {name: getattr(record, name) for name in ("source", "user_id", "parent_id", "metadata")}
        fork = self._store.session(fork_id, **opening)
        fork._note_change(record)
        fork.persisted = True
        return fork

    def _run(self, query: Query, attempts: Attempts | None = None, /, **parameters: Any) -> Any:
        """Run a query file on this session, confined to the store's user, and note its outcome."""
        runner = self._backend.runner
        try:
            outcome = runner.send(query, self._parameters(parameters), attempts)
        except BaseException:
            self._note_change(None)
            raise
        self._note_change(outcome)
        return outcome

    def _read(self, query: Query, /, **parameters: Any) -> Any:
        """Run a query file that only reads, as `_run` does, on the standby if there is one."""
        return self._backend.read(query, self._parameters(parameters), self._writes)

    def _parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {"session_id": self.id, "owner": self._backend.owner, **parameters}

    def _note_change(self, outcome: object) -> None:
        """Note what another change has returned, or None if a write failed, for later reads from a standby."""
        if self._writes is not None:
            self._writes.add_change(outcome)

    def _why_nothing(self, query: str, action: str | None = None, conditions: Conditions = UNCONDITIONAL) -> DalError:
        """Find out why a statement returned no row, and return the error; `action` is as in `refusals.reason`."""
        found: SessionRecord | None = self._run(queries.sessions.get)
        if action is not None and (found is None or found.status in OPEN):
            self._backend.runner.check()  # By now a temporary table may hide the real one.
        return refusals.reason(self.id, query, self._backend.owner, found, action=action, conditions=conditions)

    def _missing(self, query: str, found: SessionRecord | None = None) -> DalError:
        return refusals.missing(self.id, query, self._backend.owner, found)
