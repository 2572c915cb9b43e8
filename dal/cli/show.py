"""`dal show`: a session and its latest messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from textwrap import indent
from typing import Annotated

import typer
from rich.text import Text

from dal._sync.store import SessionStore
from dal.cli.connection import connected
from dal.cli.options import Dsn, Format, Output, Schema
from dal.cli.render import as_json, in_utc
from dal.gate.cli.output import err, out, visible
from dal.records import Message, Metadata, SessionRecord

_MOST_SHOWN = 4000
"""Characters of a message's content, or of metadata, to show without --full."""


def show(  # noqa: PLR0913 - options
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")],
    *,
    schema: Schema = None,
    dsn: Dsn = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="At most this many messages.")] = 20,
    before: Annotated[
        int | None, typer.Option("--before", metavar="NUMBER", min=0, help="Messages before this number.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long texts to their end.")] = False,
    form: Output = Format.TEXT,
) -> None:
    """Show a session and its latest messages, in reading order.

    Control characters in the content are shown escaped, so that it cannot change the terminal. With --format json it
    prints one JSON object. Exit status: 1 if the session is not stored.

    Examples: [bold]dal show telegram:4711[/bold], with the database in DAL_DSN,
    [bold]dal show telegram:4711 --limit 1 --format json | jq -r '.messages[].content'[/bold]
    """
    with connected(dsn, schema) as connection:
        session = SessionStore(connection, read_only=True).session(session_id)
        opened = session.open(limit if before is None else 0)
        record = opened.record or session.record()  # The second one raises SessionNotFound.
        messages = opened.messages if before is None else session.messages(before=before, limit=limit)
    if form is Format.JSON:
        document = {"session": asdict(record), "agent_ids": opened.agent_ids, "messages": [*map(asdict, messages)]}
        print(as_json(document))
    else:
        _print(record, opened.agent_ids, messages, full=full)
    if messages and messages[0].sequence > 0:
        err.print(f"There are earlier messages: add --before {messages[0].sequence}")


def _print(record: SessionRecord, agent_ids: Sequence[str], messages: Sequence[Message], *, full: bool) -> None:
    lines = [Text(visible(record.session_id), style="bold"), *_facts(record, agent_ids, full=full)]
    for message in messages:
        lines += [Text(), _heading(message), _indented(message.content, full=full)]
        if message.metadata:
            lines.append(_indented(_as_text(message.metadata), full=full, style="dim"))
    for line in lines:
        out.print(line, soft_wrap=True)


def _facts(record: SessionRecord, agent_ids: Sequence[str], *, full: bool) -> Iterator[Text]:
    facts = {
        "source": record.source,
        "user": record.user_id,
        "continues": record.parent_id,
        "status": record.status,
        "messages": f"{record.message_count:,}",
        "agents": ", ".join(agent_ids),
        "created": f"{in_utc(record.created_at)} UTC",
        "last activity": f"{in_utc(record.updated_at)} UTC",
        "metadata": _as_text(record.metadata) if record.metadata else None,
    }
    for name, text in facts.items():
        if text:
            yield Text.assemble((f"  {name:<13}  ", "dim"), _clipped(text, full=full))


def _heading(message: Message) -> Text:
    agent = f" ({visible(message.agent_id)})" if message.agent_id else ""
    number, time = (f"#{message.sequence}  ", "dim"), (f"  {in_utc(message.created_at)} UTC", "dim")
    return Text.assemble(number, (visible(message.role), "bold"), agent, time)


def _indented(text: str, *, full: bool, style: str = "") -> Text:
    return Text(indent(_clipped(text, full=full), "    "), style=style)


def _clipped(text: str, *, full: bool) -> str:
    """Return a text to print, without most of a long one."""
    rest = len(text) - _MOST_SHOWN
    if full or rest <= 0:
        return visible(text)
    return f"{visible(text[:_MOST_SHOWN])}… and {rest:,} more characters; --full shows them"


def _as_text(metadata: Metadata) -> str:
    return json.dumps(metadata, ensure_ascii=False)
