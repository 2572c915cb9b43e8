# Generated from dal/_async/queries.pyi by .ci/async_to_sync.py: change that file, and run it.
# Generated from the query files by .ci/query_stubs.py: change those, and run it.
"""Every query file as a function: its parameters, its rows, and what they mean."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from psycopg import Connection, RawCursor
from psycopg.types.json import Jsonb

from dal import records, rows
from dal.sql.loader import Parameters, Statement

class Query(Statement):
    """A query file that runs when it is called: `queries.sessions.get(connection, session_id="…")`."""

    @property
    def distributed(self) -> Query: ...
    def __call__(self, *args: Any, **parameters: Any) -> Any: ...
    def send(self, connection: Connection[Any], parameters: Parameters, spare: Spare | None = None) -> Any: ...
    def cursor(self, connection: Connection[Any]) -> RawCursor[Any]: ...
    def fetch(self, cursor: RawCursor[Any]) -> Any: ...

class Spare: ...

class _MessagesAfter(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, after: int, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read a page of messages after a sequence number, in reading order. -1 reads from the start.

        Returns: Message; in reading order; no row after the last message, or if the session is not stored.
        """

class _MessagesAnnotate(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        message_id: str,
        metadata: str | Jsonb,
        change_id: str,
        owner: str | None = None,
    ) -> records.Message | None:
        """Merge keys into a message's metadata; an existing key gets the new value. This works in archived sessions,
        too, since feedback often comes after a session has ended.

        Returns: Message; as it is stored now; no row if the session is not stored, does not contain the message,
          or is trashed or deleted. If two equal changes run at the same time, the second waits for the first and
          fails with 23505; it is safe to repeat.
        """

class _MessagesAppend(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        source: str | None,
        user_id: str | None,
        parent_id: str | None,
        session_metadata: str | Jsonb,
        message_id: str,
        role: str,
        agent_id: str | None,
        content: str,
        metadata: str | Jsonb,
        owner: str | None = None,
        if_next: int | None,
        must_exist: bool,
        session_changes: str | Jsonb | None,
    ) -> rows.Appended | None:
        """Append one message to a session. The first append creates the session.

        Returns: Appended; no row if the session does not contain the message, and is archived, trashed or
          deleted, or not as if_next and must_exist ask. If the message_id is already stored, nothing changes, and
          the row has the stored message's number; is_same is false if its content differs, but not if keys were
          added to its metadata since. If two equal appends run at the same time, the second waits for the first
          and fails with 23505; it is safe to repeat. source, user_id, parent_id and session_metadata are stored
          with a new session, and ignored for an existing one.
        """

class _MessagesAppendAll(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_ids: list[str],
        sources: list[str] | list[str | None],
        user_ids: list[str] | list[str | None],
        parent_ids: list[str] | list[str | None],
        session_metadata: list[str] | list[Jsonb],
        must_exist: list[bool],
        confined: bool,
        patience: str | None,
        if_next: int | None,
        session_changes: str | Jsonb | None,
        places: list[int],
        calls: list[int],
        message_ids: list[str],
        roles: list[str],
        agent_ids: list[str] | list[str | None],
        contents: list[str],
        metadata: list[str] | list[Jsonb],
    ) -> list[rows.AppendedOne]:
        """Append messages to any number of sessions, in the given order. Sessions that do not exist are created.
        All messages of a call are stored, or none of them; calls do not depend on each other.

        Returns: AppendedOne; in the given order; no row for a message that was not stored. Then no message of
          its call was stored, since one of them has is_same = false (its message_id is stored with other content),
          or the session is archived, trashed or deleted, or not as if_next and must_exist ask. A message that a
          trigger of the service suppressed has no row either. A message that was already stored with the same
          content keeps its number. If two equal appends run at the same time, the second waits for the first and
          fails with 23505; it is safe to repeat.
        """

class _MessagesBefore(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, before: int, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read the page of messages that ends before a sequence number, in reading order.

        Returns: Message; in reading order; no row before the first message, or if the session is not stored.
        """

class _MessagesDeleteRange(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, first: int, last: int, patience: str | None
    ) -> rows.DeletedRange | None:
        """Delete the messages of a session with the numbers from `first` to `last`. This is one step of deleting a long
        session; sessions.delete_idle or sessions.erase_user completes it in the same transaction.

        Returns: DeletedRange; one row, with the number of deleted messages; never no row.
        """

class _MessagesExport(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_ids: list[str],
        after: int,
        limit: int,
        owner: str | None = None,
    ) -> list[rows.ExportedMessage]:
        """Read a page of an export: messages of several sessions, one session after the other, in reading order.
        `after` is a sequence number in the first session, or -1 for its start; `limit` is the maximum per
        session.

        Returns: ExportedMessage; in the order of the given sessions; no row after the last message.
        """

class _MessagesGet(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, message_id: str, owner: str | None = None
    ) -> records.Message | None:
        """Read one message by its id.

        Returns: Message; no row if the session does not contain it.
        """

class _MessagesLatest(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read the latest messages of a session, in reading order, for the start of a turn.

        Returns: Message; in reading order; no row if the session is not stored.
        """

class _MessagesRedact(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        message_id: str,
        content: str,
        change_id: str,
        owner: str | None = None,
    ) -> records.Message | None:
        """Overwrite a message's content and clear its metadata, in its removed versions too. This works in archived and
        trashed sessions, too.

        Returns: Message; as it is stored now, or else its last removed version; no row if the session is not
          stored, or has no such message. If two equal changes run at the same time, the second waits for the first
          and fails with 23505; it is safe to repeat.
        """

class _MessagesRemoveFrom(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        sequence: int,
        change_id: str,
        keep: bool,
        if_next: int,
        owner: str | None = None,
    ) -> rows.Removed | None:
        """Remove the messages from a sequence number on, for example to regenerate an answer. Their numbers are not
        used again.

        Returns: Removed; no row if the session is not stored, or if nothing could be kept. If the session is
          archived, trashed or deleted, or not as if_next asks, nothing is removed and is_refused is true. The same
          change_id again returns the first outcome.
        """

class _MessagesRemoveLast(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        n: int,
        change_id: str,
        keep: bool,
        if_next: int,
        owner: str | None = None,
    ) -> list[rows.RemovedRow]:
        """Remove the last messages, and return them. Their numbers are not used again.

        Returns: RemovedRow; in the order of sequence; no row if the session is not stored, or if a temporary table
          hides removed_messages. Each row has the number of removed messages; if none was removed, there is one row
          without a message. If the session is archived, trashed or deleted, or its next number is not `if_next`,
          nothing is removed and is_refused is true.
        """

class _MessagesRemoved(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, before: int, limit: int, owner: str | None = None
    ) -> list[records.RemovedMessage]:
        """Read a page of the removed messages of a session, in reading order: those with the highest numbers before
        a number.

        Returns: RemovedMessage; in reading order; no row if nothing was removed and kept, or if the session is
          not stored.
        """

class _MessagesReplaceFrom(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        sequence: int,
        change_id: str,
        keep: bool,
        if_next: int,
        session_changes: str | Jsonb | None,
        message_ids: list[str],
        roles: list[str],
        agent_ids: list[str] | list[str | None],
        contents: list[str],
        metadata: list[str] | list[Jsonb],
        owner: str | None = None,
    ) -> list[rows.ReplacedRow]:
        """Remove the messages from a sequence number on, and append others in their place, for example a new answer.

        Returns: ReplacedRow; in the given order; no row if the session is not stored, or if nothing could be
          stored or kept. One row per new message; if none was stored, there is one row without a position. If the
          session is archived, trashed or deleted, or not as if_next asks, nothing changes and is_refused is true.
          If a message that stays has a given id, nothing changes, and is_same is false for that one.
        """

class _MessagesStream(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, after: int, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read a page of a stream: messages after a sequence number, in reading order. -1 reads from the start.

        Returns: Message; in reading order; no row after the last message, or if the session is not stored.
        """

class _Messages:
    after: _MessagesAfter
    annotate: _MessagesAnnotate
    append: _MessagesAppend
    append_all: _MessagesAppendAll
    before: _MessagesBefore
    delete_range: _MessagesDeleteRange
    export: _MessagesExport
    get: _MessagesGet
    latest: _MessagesLatest
    redact: _MessagesRedact
    remove_from: _MessagesRemoveFrom
    remove_last: _MessagesRemoveLast
    removed: _MessagesRemoved
    replace_from: _MessagesReplaceFrom
    stream: _MessagesStream

class _SchemaBrokenRows(Query):
    def __call__(self, connection: Connection[Any], /, *, limit: int) -> list[rows.BrokenRow]:
        """Find sessions and messages that break a rule which session-dal keeps, but the tables may not have checked.

        Returns: BrokenRow; one for each rule that a row breaks; no row if all rules hold.
        """

class _SchemaCheck(Query):
    def __call__(self, connection: Connection[Any], /) -> list[rows.SchemaFact]:
        """Read the definitions of the tables on the search_path, to compare them with schema.sql.

        Returns: SchemaFact; no row of kind version if the schema was never applied completely.
        """

class _SchemaHideTemporary(Query):
    def __call__(self, connection: Connection[Any], /) -> rows.SearchPath | None:
        """Put temporary tables last on this connection's search_path, so that they cannot hide our tables.

        Returns: SearchPath; no row if the path is empty or contains pg_temp.
        """

class _SchemaVersion(Query):
    def __call__(self, connection: Connection[Any], /) -> rows.SchemaVersion | None:
        """Read the version of the schema on the search_path, and the oldest version whose releases can use it.

        Returns: SchemaVersion; no row if the schema was never applied completely.
        """

class _Schema:
    broken_rows: _SchemaBrokenRows
    check: _SchemaCheck
    hide_temporary: _SchemaHideTemporary
    version: _SchemaVersion

class _SessionsAgentIds(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_ids: list[str], owner: str | None = None
    ) -> list[rows.SessionAgents]:
        """List the agents that took part in each of the given sessions, in order of first appearance.

        Returns: SessionAgents; one row per stored session; no row for a session that is not stored.
        """

class _SessionsAgentIdsReadOnly(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_ids: list[str], owner: str | None = None
    ) -> list[rows.SessionAgents]:
        """List the agents that took part in each of the given sessions, in order of first appearance, without
        caching the list: for read-only roles and servers.

        Returns: SessionAgents; one row per stored session; no row for a session that is not stored.
        """

class _SessionsArchive(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        change_id: str,
        if_next: int | None,
        owner: str | None = None,
    ) -> records.SessionRecord | None:
        """Archive a session, which is final: nothing can be appended to it or removed from it afterwards.

        Returns: SessionRecord; the current row; no row if the session is not stored. Its status is archived, or
          the one that cannot be archived. A session that was already archived keeps its archived_at. If two equal
          changes run at the same time, the second may fail with 23505; it is safe to repeat.
        """

class _SessionsChanges(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, after: int, limit: int, owner: str | None = None
    ) -> list[records.Change]:
        """Read the changes of a session after a revision, in order. Appends are not among them.

        Returns: Change; by revision; no row if nothing changed since, or if the session is not stored. If rows
          are missing, the first one has a revision of more than after + 1.
        """

class _SessionsCountOfUser(Query):
    def __call__(self, connection: Connection[Any], /, *, user_id: str) -> list[rows.CountedSessions]:
        """Count a user's sessions by their status.

        Returns: CountedSessions; one row for each status, with 0 if no row has it.
        """

class _SessionsCreate(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        source: str | None,
        user_id: str | None,
        parent_id: str | None,
        session_metadata: str | Jsonb,
        again: bool,
        owner: str | None = None,
    ) -> rows.CreatedSession | None:
        """Store a session without a message. With `again`, begin another session with the id of a deleted one; its
        numbers continue.

        Returns: CreatedSession; the stored row; no row if the session was deleted and `again` is not set, or was
          created by another transaction at this moment: repeat the statement to see that one. If the session was
          stored before, it does not change, and is_same is false if its source, user_id, parent_id or metadata
          differ.
        """

class _SessionsDelete(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> rows.Deleted | None:
        """Delete a session and all its messages. A tombstone is left, so that its id is not used again by accident.

        Returns: Deleted; no row if the session is not stored, or was deleted before.
        """

class _SessionsDeleteIdle(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        idle_since: datetime | str,
        statuses: list[str],
        passed_over: int,
        limit: int,
        message_limit: int | None,
        patience: str | None,
    ) -> list[rows.IdleSession]:
        """Delete sessions that have been idle since a given time, with their messages: the longest idle first, at most
        `limit` sessions, and at most `message_limit` messages (null: no limit). Each deleted session leaves a
        tombstone. Call it until it returns no row, so that no statement runs for long. If it returns a session that
        it did not delete, skip that one by increasing `passed_over`; if its row has a next_sequence, you can instead
        delete its messages first, with messages.delete_range in the same transaction.

        Returns: IdleSession; no row if no session has been idle for that long. Otherwise the deleted
          sessions; if none could be deleted, the first one, with its next_sequence if it has more than `message_limit`
          messages.
        """

class _SessionsDeleteIdleOfUser(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        user_id: str | None,
        idle_since: datetime | str,
        statuses: list[str],
        passed_over: int,
        limit: int,
        message_limit: int | None,
        patience: str | None,
    ) -> list[rows.IdleSession]:
        """Delete a user's sessions that have been idle since a given time, with their messages: the longest idle first,
        at most `limit` sessions, and at most `message_limit` messages (null: no limit). Each deleted session leaves
        a tombstone. Call it until it returns no row, so that no statement runs for long. If it returns a session
        that it did not delete, skip that one by increasing `passed_over`; if its row has a next_sequence, you can
        instead delete its messages first, with messages.delete_range in the same transaction.

        Returns: IdleSession; no row if no session of the user has been idle for that long. Otherwise the deleted
          sessions; if none could be deleted, the first one, with its next_sequence if it has more than `message_limit`
          messages.
        """

class _SessionsEraseUser(Query):
    def __call__(
        self, connection: Connection[Any], /, *, user_id: str | None, limit: int, message_limit: int | None
    ) -> rows.ErasureStep | None:
        """Delete at most `limit` sessions of a user, with at most `message_limit` messages (null: no limit), and with
        everything else that belongs to these sessions. Return the counts of what was deleted. Call it until it finds
        nothing.

        Returns: ErasureStep; one row, never no row; its counts are zero if the user has no sessions. `found` is the
          number of the user's sessions, at most `limit`. `first_id` is the first of them; next_sequence is set if it
          has more than `message_limit` messages. `forks` has the ids of other users' forks of the deleted sessions,
          and of forks of those.
        """

class _SessionsExport(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        listed_after: datetime | str,
        id_after: str,
        source: str | None,
        since: datetime | str | None,
        until: datetime | str | None,
        limit: int,
    ) -> list[rows.ExportedSession]:
        """Read sessions as lines of JSON, ordered by listed_at, one page at a time. The first page starts after
        ('-infinity', ''); each later one after the (listed_at, session_id) of the previous page's last row.

        Returns: ExportedSession; ordered by listed_at; no row after the last session.
        """

class _SessionsExportOfUser(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        user_id: str,
        listed_after: datetime | str,
        id_after: str,
        source: str | None,
        since: datetime | str | None,
        until: datetime | str | None,
        limit: int,
    ) -> list[rows.ExportedSession]:
        """Read a user's sessions as lines of JSON, ordered by listed_at, one page at a time. The first page starts
        after ('-infinity', ''); each later one after the (listed_at, session_id) of the previous page's last
        row.

        Returns: ExportedSession; ordered by listed_at; no row after the last session.
        """

class _SessionsFork(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        fork_id: str,
        fork_point: int | None,
        metadata: str | Jsonb,
        owner: str | None = None,
    ) -> records.SessionRecord | None:
        """Create a session with the messages of another one before a sequence number. They keep their numbers, ids
        and times.

        Returns: SessionRecord; the new session; no row if the parent is not stored, trashed or deleted, or if
          fork_id is taken.
        """

class _SessionsGet(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Read a session's row.

        Returns: SessionRecord; no row if the session is not stored.
        """

class _SessionsList(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        statuses: list[str],
        place_before: datetime | str,
        id_before: str,
        limit: int,
    ) -> list[rows.ListedSession]:
        """List sessions, latest activity first, one page at a time. The first page starts before ('infinity', '');
        each later one before the (place, session_id) of the previous page's last row.

        Returns: ListedSession; latest activity first; no row after the last session.
        """

class _SessionsListOfParent(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        parent_id: str,
        user_id: str | None,
        statuses: list[str],
        place_before: datetime | str,
        id_before: str,
        limit: int,
    ) -> list[rows.ListedSession]:
        """List the children of a session, latest activity first, one page at a time: its forks, and the sessions
        that were begun with it as their parent. The first page starts before ('infinity', ''); each later one
        before the (place, session_id) of the previous page's last row.

        Returns: ListedSession; latest activity first; no row after the last session.
        """

class _SessionsListOfSource(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        source: str,
        statuses: list[str],
        place_before: datetime | str,
        id_before: str,
        limit: int,
    ) -> list[rows.ListedSession]:
        """List the sessions from a source, latest activity first, one page at a time. The first page starts before
        ('infinity', ''); each later one before the (place, session_id) of the previous page's last row.

        Returns: ListedSession; latest activity first; no row after the last session.
        """

class _SessionsListOfUser(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        user_id: str,
        statuses: list[str],
        place_before: datetime | str,
        id_before: str,
        limit: int,
    ) -> list[rows.ListedSession]:
        """List a user's sessions, latest activity first, one page at a time. The first page starts before
        ('infinity', ''); each later one before the (place, session_id) of the previous page's last row.

        Returns: ListedSession; latest activity first; no row after the last session.
        """

class _SessionsListOfUserAndSource(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        user_id: str,
        source: str,
        statuses: list[str],
        place_before: datetime | str,
        id_before: str,
        limit: int,
    ) -> list[rows.ListedSession]:
        """List a user's sessions from a source, latest activity first, one page at a time. The first page starts
        before ('infinity', ''); each later one before the (place, session_id) of the previous page's last row.

        Returns: ListedSession; latest activity first; no row after the last session.
        """

class _SessionsOpen(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, limit: int, owner: str | None = None
    ) -> list[rows.OpenedRow]:
        """Read a session for the start of a turn: its row, its latest messages in reading order, and its agents in
        order of first appearance.

        Returns: OpenedRow; one row per message, or one without a message if the session has none; no row if the
          session is not stored.
        """

class _SessionsPause(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, change_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Mark an active session as paused. It still accepts messages; the service decides what a pause means.

        Returns: SessionRecord; the current row; no row if the session is not stored. Its status is paused, or
          the one that cannot be paused. If two equal changes run at the same time, the second may fail with 23505;
          it is safe to repeat.
        """

class _SessionsPosition(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> rows.Position | None:
        """Read how far a session is: its next number, and its revision. Both only rise.

        Returns: Position; no row if the session is not stored.
        """

class _SessionsPurge(Query):
    def __call__(self, connection: Connection[Any], /, *, before: datetime | str, limit: int) -> records.Purged | None:
        """Remove old tombstones of deleted sessions, and old removed messages: at most `limit` of each. Call it until
        it removes nothing, so that no statement runs for hours.

        Returns: Purged; how many rows were removed, in one row; never no row.
        """

class _SessionsRelist(Query):
    def __call__(self, connection: Connection[Any], /, *, owner: str | None = None) -> list[rows.Relisted]:
        """Move sessions whose place in lists is in the future to the present time.

        Returns: Relisted; no row if no place was in the future.
        """

class _SessionsRestore(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, change_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Take a session out of the trash. It is as it was before: its status, its times and its place in lists.

        Returns: SessionRecord; the current row; no row if the session is not stored. A session that is not in
          the trash does not change. If two equal changes run at the same time, the second may fail with 23505; it
          is safe to repeat.
        """

class _SessionsResume(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, change_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Mark a paused session as active again.

        Returns: SessionRecord; the current row; no row if the session is not stored. Its status is active, or
          the one that cannot be resumed. If two equal changes run at the same time, the second may fail with
          23505; it is safe to repeat.
        """

class _SessionsTrash(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, change_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Put a session into the trash: no list shows it, and nothing changes it, until it is restored or deleted.

        Returns: SessionRecord; the current row; no row if the session is not stored. Its status is trashed, or
          deleted. If two equal changes run at the same time, the second may fail with 23505; it is safe to repeat.
        """

class _SessionsUpdateMetadata(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        metadata: str | Jsonb,
        remove: list[str],
        touch: bool,
        change_id: str,
        owner: str | None = None,
    ) -> records.SessionRecord | None:
        """Remove keys from a session's metadata, then merge others into it; an existing key gets the new value. This
        works for archived sessions, too, since titles and ratings are often added after a session has ended.

        Returns: SessionRecord; the current row; no row if the session is not stored, or if a trigger of the
          service suppressed the change. A trashed or deleted session stays as it is, as its status shows. If two
          equal changes run at the same time, the second waits for the first and fails with 23505; it is safe to
          repeat.
        """

class _Sessions:
    agent_ids: _SessionsAgentIds
    agent_ids_read_only: _SessionsAgentIdsReadOnly
    archive: _SessionsArchive
    changes: _SessionsChanges
    count_of_user: _SessionsCountOfUser
    create: _SessionsCreate
    delete: _SessionsDelete
    delete_idle: _SessionsDeleteIdle
    delete_idle_of_user: _SessionsDeleteIdleOfUser
    erase_user: _SessionsEraseUser
    export: _SessionsExport
    export_of_user: _SessionsExportOfUser
    fork: _SessionsFork
    get: _SessionsGet
    list: _SessionsList
    list_of_parent: _SessionsListOfParent
    list_of_source: _SessionsListOfSource
    list_of_user: _SessionsListOfUser
    list_of_user_and_source: _SessionsListOfUserAndSource
    open: _SessionsOpen
    pause: _SessionsPause
    position: _SessionsPosition
    purge: _SessionsPurge
    relist: _SessionsRelist
    restore: _SessionsRestore
    resume: _SessionsResume
    trash: _SessionsTrash
    update_metadata: _SessionsUpdateMetadata

class _Library:
    messages: _Messages
    schema: _Schema
    sessions: _Sessions

    def __getitem__(self, name: str) -> Query: ...
    def __iter__(self) -> Iterator[str]: ...

queries: _Library
"""Every query file as an synchronous function, in a namespace for each folder."""
