# Generated from dal/histories/_async/export.py by .ci/async_to_sync.py: change that file, and run it.
"""Exports: sessions and their messages as lines, from one snapshot."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any

from psycopg import IsolationLevel

from dal._sync.queries import Query, queries
from dal._sync.runner import Runner
from dal.histories._sync.overlapped import Overlapped
from dal.histories.pages import PAGE, MessagePages


def export(
    runner: Runner, *, user_id: str | None, source: str | None, since: datetime | None, until: datetime | None
) -> Generator[bytes, None, None]:
    """Yield chunks of whole lines. While the server reads a page, this side writes the lines of the previous one."""
    wanted: dict[str, Any] = {"source": source, "since": since, "until": until, "limit": PAGE}
    query: Query = queries.sessions.export
    if user_id is not None:
        wanted["user_id"] = user_id
        query = queries.sessions.export_of_user
    pages = MessagePages()
    listed_after, id_after = "-infinity", ""
    with (
        runner.exclusive_transaction("export", IsolationLevel.REPEATABLE_READ, read_only=True) as (
            connection,
            snapshot,
        ),
        connection.pipeline() as pipeline,
    ):
        sessions_page = Overlapped(query, pipeline, pages.write)
        messages_page = Overlapped(queries.messages.export, pipeline, pages.write)
        while True:
            sessions = snapshot.run(sessions_page, listed_after=listed_after, id_after=id_after, **wanted)
            if pages.lines:
                yield pages.lines
            if not sessions:
                return
            pages.begin(sessions)
            while (page := pages.parameters()) is not None:
                rows = snapshot.run(messages_page, **page)
                if pages.lines:
                    yield pages.lines
                pages.take(rows)
            listed_after, id_after = sessions[-1].listed_at.isoformat(), sessions[-1].session_id
