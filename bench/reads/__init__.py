"""Common ways to read, for comparison; in the library's own tables if possible. One file per subject."""

from pathlib import Path
from typing import Any

import aiosql

_FOLDER = Path(__file__).parent

agents: Any = aiosql.from_path(_FOLDER / "agents.sql", "psycopg")
listing: Any = aiosql.from_path(_FOLDER / "listing.sql", "psycopg")
pages: Any = aiosql.from_path(_FOLDER / "pages.sql", "psycopg")

SESSION_READS = {
    "latest(20)": lambda session: session.latest(20),
    "messages(limit=20)": lambda session: session.messages(limit=20),
    "agent_ids()": lambda session: session.agent_ids(),
    "record()": lambda session: session.record(),
}
