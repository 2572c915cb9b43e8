# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "agno[postgres]>=3",
#     "chainlit[custom-data]>=2.9",
#     "google-adk[db]>=2",
#     "langchain-postgres>=0.0.15",
#     "langgraph>=1",
#     "langgraph-checkpoint-postgres>=3",
#     "llama-index-storage-chat-store-postgres>=0.5",
#     "openai-agents[sqlalchemy]>=0.20",
#     "session-dal[cli,container,embedded]",
# ]
#
# [tool.uv.sources]
# session-dal = { path = "..", editable = true }
# ///
"""One append, by the data layers of the field and by ours, each by its own public interface.

    uv run bench/peers.py --write

They are installed for this program alone (the lines above), in an environment that uv keeps. As a dependency group of
the project they would hold back its OpenTelemetry, and `uv run pytest` in a fresh clone would take 7 s longer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from contention import Contention, contend
from layers import Layer
from peer_costs import DURABLE, SIZES, Cost, Times, cost, times
from peers_page import Row, page
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.progress import Progress

from dal.gate.server import CHOICES, Server, serve

OURS = {False: "ours:OursInTasks", True: "ours:OursInThreads"}
"""The reference layers: in tasks, and in threads."""

LAYERS = (
    *OURS.values(),
    "ours:OursThroughAWriter",
    "openai_agents:OpenAIAgents",
    "google_adk:GoogleADK",
    "langchain:LangChain",
    "langgraph:LangGraph",
    "llama_index:LlamaIndex",
    "agno:Agno",
    "chainlit:Chainlit",
)

PAGE = Path(__file__).parent.parent / "docs" / "peers.md"

SILENT = {
    "AGNO_TELEMETRY": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "LANGSMITH_TRACING": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
    "TRACELOOP_TELEMETRY": "false",
}
"""Settings that disable telemetry."""


def main(
    *,
    write: Annotated[bool, typer.Option("--write", help="Write docs/peers.md, too.")] = False,
    postgres: Annotated[str | None, typer.Option(metavar=CHOICES, help="The server; as for the tests.")] = None,
    only: Annotated[str, typer.Option(metavar="TEXT", help="Only the layers whose name has this in it.")] = "",
    largest: Annotated[int, typer.Option(help="How many messages the largest session has.")] = max(SIZES),
) -> None:
    """Measure an append by ours and by the data layers of the field, each installed as its makers publish it.

    Round trips and statements are counted on the wire; an append is timed beside ours, taking turns; and eight
    writers append to one session while a reader looks on. It takes about five minutes.
    """
    if write and (only or largest < max(SIZES)):
        raise typer.BadParameter("the page is of all layers and sizes", param_hint="--write")
    os.environ.update(SILENT)
    logging.disable()  # Errors and lost messages are counted.
    with tempfile.TemporaryDirectory() as folder, serve(postgres, prefer_container=True) as server:
        os.environ["CHAINLIT_APP_ROOT"] = folder  # Chainlit writes its settings there on import.
        with Progress(transient=True) as progress:
            sizes = [size for size in SIZES if size <= largest]
            layers = [name for name in LAYERS if only in name]
            task = progress.add_task("", total=len(layers))
            rows = []
            for name in layers:
                progress.update(task, description=name.partition(":")[2])
                rows.append(measured(name, server, sizes, lambda told: progress.update(task, description=told)))
                progress.advance(task)
    text = page(rows, server=str(server), machine=f"Python {platform.python_version()}, {os.cpu_count()} processors")
    print(text)
    if write:
        PAGE.write_text(text, encoding="utf-8")


def measured(name: str, server: Server, sizes: list[int], tell: Callable[[str], None]) -> Row:
    """Return a layer's row of the table, or the reason for its absence."""
    module, _, kind = name.partition(":")
    try:
        layer: type[Layer] = getattr(import_module(f"layers.{module}"), kind)
    except ImportError as error:
        return Row(kind, failed=f"{type(error).__name__}: {error}")
    row = Row(layer.title, layer.call, layer.beside, {package: version(package) for package in layer.packages})
    try:
        row.cost, row.times, row.durable, row.contention = asyncio.run(_measured(layer, server, sizes, tell))
    except Exception as error:  # noqa: BLE001 - the row shows any error
        row.failed = f"{type(error).__name__}: {error}".partition("\n")[0]
    return row


async def _measured(
    kind: type[Layer], server: Server, sizes: list[int], tell: Callable[[str], None]
) -> tuple[Cost, dict[int, Times], Times, Contention]:
    """Return cost, times and contention of an append."""
    took = {}
    async with opened(kind, server, "off") as (layer, ours, conninfo):
        tell(f"{kind.title}: on the wire")
        counted = await cost(kind, conninfo)
        for size in sizes:
            tell(f"{kind.title}: at {size:,}")
            took[size] = await times(ours, layer, size)
    async with opened(kind, server, "on") as (layer, ours, _):
        tell(f"{kind.title}: at {DURABLE:,}, each commit on the disk")
        durable = await times(ours, layer, DURABLE)
        tell(f"{kind.title}: eight writers")
        return counted, took, durable, await contend(layer)


@asynccontextmanager
async def opened(kind: type[Layer], server: Server, synchronous_commit: str) -> AsyncIterator[tuple[Layer, Layer, str]]:
    """Yield a layer and ours, each on its own database, and the layer's conninfo."""
    module, _, ours = OURS[kind.threads].partition(":")
    layer, beside = kind(), getattr(import_module(f"layers.{module}"), ours)()
    with database(server, synchronous_commit) as conninfo, database(server, synchronous_commit) as other:
        await layer.open(conninfo)
        await beside.open(other)
        try:
            yield layer, beside, conninfo
        finally:
            await layer.close()
            await beside.close()


@contextmanager
def database(server: Server, synchronous_commit: str) -> Iterator[str]:
    """Create a database; yield its conninfo; drop the database at the end of the block."""
    conninfo = make_conninfo(server.conninfo, dbname=f"peers_{uuid.uuid4().hex}")
    name = sql.Identifier(str(conninfo_to_dict(conninfo)["dbname"]))
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = {}").format(name, synchronous_commit))
        try:
            yield conninfo
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


if __name__ == "__main__":
    typer.run(main)
