"""Data layers for agents' sessions, each by its own public interface and set up as its own documentation says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import URL

Append = Callable[[str], Awaitable[object]]
"""Appends a message with that text to the session that it was made for."""


class Layer(ABC):
    """A data layer on a database of its own.

    One that is made for threads blocks in its coroutines, and is given a thread for each that run at once.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """What is installed for it, and told with its version."""
    call: ClassVar[str]
    """The call that is measured."""
    beside: ClassVar[str]
    """What the call does beside storing a message, what it leaves to others, and what was not counted."""
    threads: ClassVar[bool] = False

    @abstractmethod
    async def open(self, conninfo: str) -> None:
        """Connect, and make the tables if they are not there."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the connections."""

    @abstractmethod
    async def begin(self, session_id: str) -> Append:
        """What a request does before it appends to a session that is there: it makes an object, or loads one."""

    @abstractmethod
    async def fill(self, session_id: str, texts: Sequence[str]) -> None:
        """Make a session with these messages, in the fastest way that the interface has."""

    @abstractmethod
    async def read(self, session_id: str) -> list[str]:
        """Every message of a session, in the layer's own order."""


def url(conninfo: str, driver: str) -> str:
    """The conninfo as SQLAlchemy takes it."""
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
