# Generated from dal/histories/_async/export.py by .ci/async_to_sync.py: change that file, and run it.
"""Exporting: the lines of sessions and their messages, as all of them were at one moment."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any

from psycopg import IsolationLevel

from dal._sync.queries import queries
from dal._sync.runner import Runner
from dal.histories._sync.overlapped import Meanwhile
from dal.histories.pages import steps


def export(
    runner: Runner, *, user_id: str | None, source: str | None, since: datetime | None, until: datetime | None
) -> Generator[bytes, None, None]:
    """Give the lines in chunks, each of whole lines. While a page is written here, the server reads the next."""
    wanted: dict[str, Any] = {"source": source, "since": since, "until": until}
    query = "sessions.export"
    if user_id is not None:
        wanted["user_id"] = user_id
        query = "sessions.export_of_user"
    with (
        runner.alone("export", IsolationLevel.REPEATABLE_READ, read_only=True) as (connection, snapshot),
        connection.pipeline() as pipeline,
    ):
        escaped = Meanwhile(queries.messages.export_escaped, pipeline)
        pages = steps(query, wanted)
        step = next(pages)
        while step is not None:
            asked = Meanwhile(queries[step.query], pipeline, step.page.write)
            rows = snapshot.run(asked, **step.parameters)
            whole: list[bytes] = []
            for piece in step.page.pieces:
                if isinstance(piece, bytes):
                    whole.append(piece)
                    continue
                if whole:
                    yield b"".join(whole)
                whole, after, left = [], piece.after, piece.messages
                while left:
                    more = snapshot.run(escaped, session_id=piece.session_id, after=after, limit=left)
                    after, left = more.sequence, left - more.messages
                    step.page.size += len(more.lines)
                    yield more.lines
            if whole:
                yield b"".join(whole)
            step = pages.send(rows)
