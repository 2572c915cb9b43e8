"""Many sessions, and pages of lists: the library's and OFFSET pagination."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest
from append_variants import AGENT, ROLE, content
from measures import Figures, Operation, figures_of, warm
from reads import listing
from variant_tables import Schema

import dal
from dal.validate import make_cursor

SIZES = (5_000, 10_000, 20_000, 50_000)
LARGE = (*SIZES, 1_000_000)
PAGE = 20
USER = "user-7"


class SessionLists(Schema):
    """A schema with many sessions, grown and measured step by step."""

    def __init__(self, conninfo: str, sizes: tuple[int, ...]) -> None:
        super().__init__(conninfo)
        self.size = max(sizes)
        self.figures: dict[str, dict[int, Figures]] = {name: {} for name in PAGES}
        with self.connections() as connect:
            connection = connect()
            dal.SessionStore(connection).apply_schema()
            listing.prepare_offset(connection)
            before = 0
            for size in sizes:
                listing.fill(connection, before=before, size=size)
                listing.fill_offset(connection, before=before, size=size)
                self.settle(connection)
                for name in PAGES:
                    page = self.page(name, connection, size)
                    warm(page)
                    self.figures[name][size] = figures_of(connection, Operation(page))
                before = size
            (busy,) = dal.SessionStore(connection).sessions(user_id=USER, status="active", limit=1)
            self.busy = busy.session_id

    @staticmethod
    def settle(connection: psycopg.Connection) -> None:
        """Vacuum and analyze, so that plans and costs do not depend on autovacuum."""
        # Only after a durable commit can VACUUM mark the rows as visible to all.
        connection.execute("SET synchronous_commit = on")
        listing.settle(connection)
        listing.settle_offset(connection)
        connection.execute("SET synchronous_commit = off")

    def page(self, name: str, connection: psycopg.Connection, size: int | None = None) -> Callable[[], object]:
        """Return a function that reads a page on a connection; `size` is the number of sessions."""
        return PAGES[name](connection, size or self.size)

    def append(self, connection: psycopg.Connection) -> None:
        """Append to a session of USER, and update the OFFSET table as that variant must."""
        dal.SessionStore(connection).session(self.busy).append(ROLE, content(), agent_id=AGENT)
        listing.touch_offset(connection, session_id=self.busy)


def _first(connection: psycopg.Connection, size: int) -> Callable[[], object]:
    return partial(dal.SessionStore(connection).sessions, limit=PAGE)


def _middle(connection: psycopg.Connection, size: int) -> Callable[[], object]:
    session_id, place = listing.middle(connection)
    return partial(dal.SessionStore(connection).sessions, limit=PAGE, cursor=make_cursor(place, session_id))


def _of_a_user(connection: psycopg.Connection, size: int) -> Callable[[], object]:
    return partial(dal.SessionStore(connection).sessions, limit=PAGE, user_id=USER)


def _offset(connection: psycopg.Connection, size: int) -> Callable[[], object]:
    return lambda: list(listing.offset(connection, skip=size // 2, limit=PAGE))


PAGES = {"first": _first, "in the middle": _middle, "of a user": _of_a_user, "OFFSET, in the middle": _offset}


@pytest.fixture(scope="session")
def session_lists(server, large) -> Iterator[SessionLists]:
    session_lists = SessionLists(server.conninfo, LARGE if large else SIZES)
    yield session_lists
    session_lists.close()
