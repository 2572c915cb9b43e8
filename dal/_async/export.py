"""Exporting: the lines of sessions and their messages, as all of them were at one moment."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

from psycopg import IsolationLevel

from dal._async.queries import AsyncQuery, async_queries
from dal._async.runner import AsyncRunner
from dal.histories.pace import Pace
from dal.records import ExportedSession


async def export(
    runner: AsyncRunner, *, user_id: str | None, source: str | None, since: datetime | None, until: datetime | None
) -> AsyncGenerator[bytes]:
    """Give the lines in chunks, each of whole lines. The server writes them; here they only pass."""
    wanted: dict[str, Any] = {"source": source, "since": since, "until": until}
    query: AsyncQuery = async_queries.sessions.export
    if user_id is not None:
        wanted["user_id"] = user_id
        query = async_queries.sessions.export_of_user
    pace, last = Pace(), ("-infinity", "")
    async with runner.alone("export", IsolationLevel.REPEATABLE_READ, read_only=True) as (_, snapshot):
        while True:
            page = await snapshot.run(
                query, updated_after=last[0], id_after=last[1], sessions=pace.sessions, limit=pace.limit, **wanted
            )
            if not page:
                return
            last = page[-1].updated_at.isoformat(), page[-1].session_id
            whole: list[ExportedSession] = []
            for session in page:
                whole.append(session)
                if session.is_whole:
                    continue
                yield b"".join([one.lines for one in whole])
                whole, after = [], -1
                while more := await snapshot.run(
                    async_queries.messages.export, session_id=session.session_id, after=after, limit=pace.limit
                ):
                    after = more.sequence
                    pace.went(more.messages, len(more.lines))
                    yield more.lines
            if whole:
                chunk = b"".join([one.lines for one in whole])
                pace.went(sum(one.messages for one in whole), len(chunk), len(whole))
                yield chunk
