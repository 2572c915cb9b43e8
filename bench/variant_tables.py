"""The field: a schema where every way has its tables, filled once for a whole run, so that all are measured there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psycopg
import pytest
from measures import Figures, Operation, figures_of, warm
from proxy import passed_on
from psycopg import sql
from ulid import ULID
from ways import Bare, Count, Identity, InsertMax, JsonbArray, Max, Ours, Way
from ways.orm import Orm

WAYS = {way.__name__: way for way in (Ours, Orm, Count, Max, InsertMax, Identity, JsonbArray, Bare)}

NEIGHBOURS, NEIGHBOURS_MESSAGES = 2_000, 10
"""Other sessions in the same tables, and their messages: without them a scan of the table would be a good plan."""

SIZES = (10, 1_000, 10_000)
LARGE = (*SIZES, 100_000)
"""How many messages there are in the sessions whose appends are timed."""

BETWEEN = (100, 3_000)
LARGE_BETWEEN = (*BETWEEN, 30_000)
"""Further sizes, so that a class of growth is told from more than three points."""

ROLES = {"warm": 10} | dict.fromkeys(("beside", "far", "held", "busy with 1", "busy with 8", "read"), 1_000)
"""Sessions that grow while something else is measured, and their messages."""

DELAY = 0.001
"""What the proxy adds to each reply, in seconds: about a round trip between two zones of a data centre."""

_SETTINGS = "-c synchronous_commit=off -c client_min_messages=warning"
"""With synchronous_commit on, the times would be those of the disk's flush, whatever the way."""


class Place:
    """A schema of its own, and connections that see it."""

    def __init__(self, conninfo: str) -> None:
        self.schema = f"bench_{ULID()}".lower()
        self.settings = f"-c search_path={self.schema} {_SETTINGS}"
        self._direct = conninfo
        self._delayed: str | None = None
        self._stack = ExitStack()
        self._execute("CREATE SCHEMA {}")

    def connect(self, *, slow: bool = False) -> psycopg.Connection:
        """Connect, or connect through the proxy that is slow; whoever asks closes the connection."""
        if slow and self._delayed is None:
            self._delayed = self._stack.enter_context(passed_on(self._direct, delay=DELAY))
        conninfo = self._delayed if slow else self._direct
        return psycopg.connect(conninfo, autocommit=True, options=self.settings)

    @contextmanager
    def connections(self) -> Iterator[Callable[..., psycopg.Connection]]:
        """Connect as `connect` does; the connections are closed at the end of the block."""
        made = []

        def connect(**options) -> psycopg.Connection:
            made.append(self.connect(**options))
            return made[-1]

        yield connect
        for connection in made:
            with suppress(psycopg.Error):
                connection.close()

    def close(self) -> None:
        self._stack.close()
        self._execute("DROP SCHEMA {} CASCADE")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._direct, autocommit=True, options=_SETTINGS) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self.schema)))


class Field(Place):
    """The ways' tables in one schema."""

    def __init__(self, conninfo: str, sizes: list[int]) -> None:
        super().__init__(conninfo)
        self.sizes = sizes
        self._made: set[str] = set()
        self._figures: dict[tuple[str, int], Figures] = {}

    def way(self, name: str, connection: psycopg.Connection) -> Way:
        """A way on a connection where its statements are prepared, and its tables are filled.

        All sessions are there before the first figure is read: what is measured is the growth with a session, in
        tables of one size.
        """
        way = WAYS[name](connection)
        if way.file not in self._made:
            with self.connect() as other:
                WAYS[name](other).prepare()
            self.fill(name, {f"neighbour-{n}": NEIGHBOURS_MESSAGES for n in range(NEIGHBOURS)})
        if name not in self._made:
            sizes = ROLES | {size: size for size in self.sizes}
            self.fill(name, {self.session(way, role): size for role, size in sizes.items()})
        self._made |= {name, way.file}
        warm(lambda: way.append(self.session(way, "warm")))
        return way

    def fill(self, name: str, sessions: Mapping[str, int]) -> None:
        """Store sessions of so many messages in a way's tables, and vacuum them."""
        with self.connect() as connection:
            # A commit that waits for the disk: before that VACUUM cannot tell that the rows are visible to all.
            connection.execute("SET synchronous_commit = on")
            way = WAYS[name](connection)
            with connection.transaction():
                for session_id, size in sessions.items():
                    way.fill(session_id, size)
            way.settle()

    def figures(self, way: Way, role: object) -> Figures:
        """What an append to a way's session takes now."""
        session_id = self.session(way, role)
        append = Operation(partial(way.statements, session_id), partial(way.append, session_id), after=way.ended)
        return figures_of(way.connection, append)

    def figures_at(self, way: Way, size: int) -> Figures:
        """What an append to a session of that size takes: measured once, before the first that is timed."""
        key = type(way).__name__, size
        if key not in self._figures:
            self._figures[key] = self.figures(way, size)
        return self._figures[key]

    @staticmethod
    def session(way: Way, role: object) -> str:
        """The id of a way's session: of that size, or of that role."""
        return f"{type(way).__name__}-{role}"


@pytest.fixture(scope="session")
def field(server, large):
    field = Field(server.conninfo, sorted(LARGE + LARGE_BETWEEN if large else SIZES + BETWEEN))
    yield field
    field.close()


@pytest.fixture
def connected(field):
    """Connect to the field for the length of the test."""
    with field.connections() as connect:
        yield connect
