# Generated from dal/_async/queries.pyi by .ci/async_to_sync.py: change that file, and run it.
# Generated from the query files by .ci/query_stubs.py: change those, and run it.
"""Every query file as a function: its parameters, its rows, and what they mean."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from psycopg import Connection, RawCursor
from psycopg.types.json import Jsonb

from dal import records
from dal.loader import Statement

class Query(Statement):
    """A query file that runs when it is called: `queries.sessions.get(connection, session_id="…")`."""

    def __call__(self, *args: Any, **parameters: Any) -> Any: ...
    def send(self, connection: Connection[Any], parameters: dict[str, Any], spare: Spare | None = None) -> Any: ...
    def cursor(self, connection: Connection[Any]) -> RawCursor[Any]: ...

class Spare: ...

class _MessagesAfter(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, after: int, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read a session's messages that follow a sequence number, in reading order: a page forwards. From the
        start with -1.

        Returns: Message; in reading order; no row when nothing follows, or no such session is stored.
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
    ) -> records.Appended | None:
        """Append one message to a session, and create the session if this is its first.

        Returns: Appended; no row when the session is archived and has no such message.
          The same message_id again gives what was stored the first time and changes nothing (so a lost
          reply can be asked for again); is_same is false when its content was another.
          While the first of two equal appends has not committed, the second waits and then fails with
          23505; it is safe to repeat. source, user_id, parent_id and session_metadata are the new
          session's, and do nothing to one that exists.
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
        confined: bool,
        patience: str | None,
        places: list[int],
        calls: list[int],
        message_ids: list[str],
        roles: list[str],
        agent_ids: list[str] | list[str | None],
        contents: list[str],
        metadata: list[str] | list[Jsonb],
    ) -> list[records.AppendedOne]:
        """Append messages to any number of sessions, to each in the order given, and create the sessions that they are
        the first of. The messages of one call are stored all or none; calls do not depend on each other.

        Returns: AppendedOne; in the order given; no row for those that were not stored: then none of their call was,
          because one has is_same false (its message_id is there with other content), or else because the session is
          archived. A message that a trigger of the service's own suppressed has no row either. Those that are there
          already with the same content keep their number.
          While the first of two equal appends has not committed, the second waits and then fails with
          23505; it is safe to repeat.
        """

class _MessagesBefore(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, before: int, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read a session's messages that precede a sequence number, the nearest ones, in reading order: a page
        backwards.

        Returns: Message; in reading order; no row when nothing precedes, or no such session is stored.
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
    ) -> list[records.ExportedMessage]:
        """Read the messages of several sessions in reading order, one session after the other: a page of an export.
        `after` is a sequence number in the first session, -1 for its start; `limit` is the most of each session.

        Returns: ExportedMessage; in the order of the given sessions; no row when they have no more messages.
        """

class _MessagesGet(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, message_id: str, owner: str | None = None
    ) -> records.Message | None:
        """Read one message by its id.

        Returns: Message; no row when the session holds no such message.
        """

class _MessagesLatest(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read the latest messages of a session, in reading order: what a turn of an agent begins with.

        Returns: Message; in reading order; no row when no such session is stored.
        """

class _MessagesRemoveFrom(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        session_id: str,
        sequence: int,
        removal_id: str,
        owner: str | None = None,
    ) -> records.Removed | None:
        """Remove a session's messages from a sequence number on: to regenerate an answer, or to take the last
        message back. The numbers are not given out again.

        Returns: Removed; no row when no such session is stored.
          When the session is archived, nothing is removed and is_refused is true. The same removal_id again
          gives what was removed the first time. While the first of two equal removals has not committed, the
          second waits and then fails with 23505; it is safe to repeat.
        """

class _MessagesStream(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, after: int, limit: int, owner: str | None = None
    ) -> list[records.Message]:
        """Read a session's messages that follow a sequence number, in reading order: a page of a stream.
        From the start with -1.

        Returns: Message; in reading order; no row when nothing follows, or no such session is stored.
        """

class _Messages:
    after: _MessagesAfter
    append: _MessagesAppend
    append_all: _MessagesAppendAll
    before: _MessagesBefore
    export: _MessagesExport
    get: _MessagesGet
    latest: _MessagesLatest
    remove_from: _MessagesRemoveFrom
    stream: _MessagesStream

class _SchemaCheck(Query):
    def __call__(self, connection: Connection[Any], /) -> list[records.SchemaFact]:
        """Read how the tables that the search_path leads to are made, for a comparison with how schema.sql makes them.

        Returns: SchemaFact; no row of kind version when a schema was never applied whole.
        """

class _SchemaHideTemporary(Query):
    def __call__(self, connection: Connection[Any], /) -> records.SearchPath | None:
        """Put temporary tables last on this connection's search_path, so that none can hide a table of ours.

        Returns: SearchPath; no row where the path is empty or names pg_temp.
        """

class _SchemaVersion(Query):
    def __call__(self, connection: Connection[Any], /) -> records.SchemaVersion | None:
        """Read which version of the schema the search_path leads to, and from which version on releases can use it.

        Returns: SchemaVersion; no row when a schema was never applied whole.
        """

class _Schema:
    check: _SchemaCheck
    hide_temporary: _SchemaHideTemporary
    version: _SchemaVersion

class _SessionsAgentIds(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_ids: list[str], owner: str | None = None
    ) -> list[records.SessionAgents]:
        """List the agents that spoke in each of the given sessions, in order of first appearance.

        Returns: SessionAgents; one a session that is stored; no row for one that is not.
        """

class _SessionsAgentIdsReadOnly(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_ids: list[str], owner: str | None = None
    ) -> list[records.SessionAgents]:
        """List the agents that spoke in each of the given sessions, in order of first appearance, and store
        nothing: for a role that only reads, or a server that does.

        Returns: SessionAgents; one a session that is stored; no row for one that is not.
        """

class _SessionsArchive(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Archive a session for good: from here on nothing is appended to it or removed from it.

        Returns: SessionRecord; as it is now; no row when no such session is stored.
          An archived session stays as it is, its archived_at too.
        """

class _SessionsDelete(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> records.Deleted | None:
        """Delete a session with all its messages.

        Returns: Deleted; no row when no such session is stored.
        """

class _SessionsDeleteIdle(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        idle_since: datetime | str,
        passed_over: int,
        limit: int,
        patience: str | None,
    ) -> list[records.Deleted]:
        """Delete sessions, with their messages, in which nothing has happened since a time; the longest idle
        first, at most so many at once (so that no statement runs for hours: repeat until none is left).

        Returns: Deleted; no row when no session has been idle for so long.
        """

class _SessionsDeleteIdleOfUser(Query):
    def __call__(
        self,
        connection: Connection[Any],
        /,
        *,
        user_id: str,
        idle_since: datetime | str,
        passed_over: int,
        limit: int,
        patience: str | None,
    ) -> list[records.Deleted]:
        """Delete a user's sessions, with their messages, in which nothing has happened since a time; the longest idle
        first, at most so many at once (so that no statement runs for hours: repeat until none is left).

        Returns: Deleted; no row when no session has been idle for so long.
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
    ) -> list[records.ExportedSession]:
        """Read sessions as lines of JSON, in the order of listed_at: a page. The first page
        comes after ('-infinity', ''), the next after the (listed_at, session_id) of the last row of this one.

        Returns: ExportedSession; in the order of the pages; no row when there are no more.
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
    ) -> list[records.ExportedSession]:
        """Read sessions of a user as lines of JSON, in the order of listed_at: a page. The
        first page comes after ('-infinity', ''), the next after the last row's (listed_at, session_id).

        Returns: ExportedSession; in the order of the pages; no row when there are no more.
        """

class _SessionsGet(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Read a session's row.

        Returns: SessionRecord; no row when no such session is stored.
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
    ) -> list[records.ListedSession]:
        """List sessions, the latest activity first: a page. The first page comes before
        ('infinity', ''), the next before the (place, session_id) of the last row of this one.

        Returns: ListedSession; the latest activity first; no row when there are no more.
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
    ) -> list[records.ListedSession]:
        """List the sessions from a source, the latest activity first: a page. The first page comes before
        ('infinity', ''), the next before the (place, session_id) of the last row of this one.

        Returns: ListedSession; the latest activity first; no row when there are no more.
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
    ) -> list[records.ListedSession]:
        """List a user's sessions, the latest activity first: a page. The first page comes before
        ('infinity', ''), the next before the (place, session_id) of the last row of this one.

        Returns: ListedSession; the latest activity first; no row when there are no more.
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
    ) -> list[records.ListedSession]:
        """List a user's sessions from a source, the latest activity first: a page. The first page comes before
        ('infinity', ''), the next before the (place, session_id) of the last row of this one.

        Returns: ListedSession; the latest activity first; no row when there are no more.
        """

class _SessionsOpen(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, limit: int, owner: str | None = None
    ) -> list[records.OpenedRow]:
        """Read what a turn of an agent begins with, in one go: the session's row, its latest messages in reading order,
        and the agents that spoke in it, in order of first appearance.

        Returns: OpenedRow; one a message, or one without a message if the session has none; no row when no such session
          is stored.
        """

class _SessionsPause(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Mark an active session as paused. Messages are still accepted: what a pause means is the service's.

        Returns: SessionRecord; as it is now; no row when no such session is stored.
          An archived session stays archived: the status tells. A paused one stays as it is.
        """

class _SessionsRelist(Query):
    def __call__(self, connection: Connection[Any], /, *, owner: str | None = None) -> list[records.Relisted]:
        """Give the present time as their place in lists to sessions whose place is ahead of the clock.

        Returns: Relisted; no row when no session was ahead.
        """

class _SessionsResume(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Mark a paused session as active again.

        Returns: SessionRecord; as it is now; no row when no such session is stored.
          An archived session stays archived: the status tells. An active one stays as it is.
        """

class _SessionsUpdateMetadata(Query):
    def __call__(
        self, connection: Connection[Any], /, *, session_id: str, metadata: str | Jsonb, owner: str | None = None
    ) -> records.SessionRecord | None:
        """Merge keys into a session's metadata; a key that is there already gets the new value. Allowed
        whatever the status: titles and ratings are given to sessions that are over.

        Returns: SessionRecord; as it is now; no row when no such session is stored.
        """

class _Sessions:
    agent_ids: _SessionsAgentIds
    agent_ids_read_only: _SessionsAgentIdsReadOnly
    archive: _SessionsArchive
    delete: _SessionsDelete
    delete_idle: _SessionsDeleteIdle
    delete_idle_of_user: _SessionsDeleteIdleOfUser
    export: _SessionsExport
    export_of_user: _SessionsExportOfUser
    get: _SessionsGet
    list: _SessionsList
    list_of_source: _SessionsListOfSource
    list_of_user: _SessionsListOfUser
    list_of_user_and_source: _SessionsListOfUserAndSource
    open: _SessionsOpen
    pause: _SessionsPause
    relist: _SessionsRelist
    resume: _SessionsResume
    update_metadata: _SessionsUpdateMetadata

class _Library:
    messages: _Messages
    schema: _Schema
    sessions: _Sessions

    def __getitem__(self, name: str) -> Query: ...
    def __iter__(self) -> Iterator[str]: ...

queries: _Library
"""Every query file as an synchronous function, in a namespace for each folder."""
