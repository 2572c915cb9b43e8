"""Data layers for agent sessions, called by their public interfaces and set up as documented."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import URL

Append = Callable[[str], Awaitable[object]]
"""Appends a message with this text to a session."""


class Layer(ABC):
    """A data layer on its own database.

    A layer for threads blocks in its coroutines, so each concurrent caller gets its own thread.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """The packages whose versions are shown."""
    call: ClassVar[str]
    """The measured call."""
    beside: ClassVar[str]
    """How the call differs from ours, and which of its statements were not counted."""
    threads: ClassVar[bool] = False

    @abstractmethod
    async def open(self, conninfo: str) -> None:
        """Connect, and create missing tables."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    async def begin(self, session_id: str) -> Append:
        """Prepare an append to an existing session, as a request does: create or load an object."""

    @abstractmethod
    async def fill(self, session_id: str, texts: Sequence[str]) -> None:
        """Create a session with these messages, in the fastest way of the interface."""

    @abstractmethod
    async def read(self, session_id: str) -> list[str]:
        """Return all messages of a session, in the layer's order."""


def url(conninfo: str, driver: str) -> str:
    """Return a conninfo as a URL for SQLAlchemy."""
    given = conninfo_to_dict(conninfo)
    host = str(given.get("host") or "127.0.0.1")
    socket = {"host": host} if host.startswith("/") else {}
    encryption = {"ssl": "disable"} if driver == "asyncpg" else {"sslmode": "disable"}
    return URL.create(
        f"postgresql+{driver}",
        username=str(given["user"]),
        password=given.get("password"),
        host=None if socket else host,
        port=int(given.get("port") or 5432),
        database=str(given["dbname"]),
        query=encryption | socket,
    ).render_as_string(hide_password=False)
