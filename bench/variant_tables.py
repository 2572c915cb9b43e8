"""The tables of all append variants, in one schema, filled once per run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psycopg
import pytest
from append_variants import Bare, Count, Identity, InsertMax, JsonbArray, Max, Ours, Variant
from append_variants.orm import Orm
from measures import Figures, Operation, figures_of, warm
from proxy import forward_through_proxy
from psycopg import sql
from ulid import ULID

VARIANTS = {variant.__name__: variant for variant in (Ours, Orm, Count, Max, InsertMax, Identity, JsonbArray, Bare)}

NEIGHBOURS, NEIGHBOURS_MESSAGES = 2_000, 10
"""Other sessions in the same tables, and their messages; without them a full scan would be the best plan."""

SIZES = (10, 1_000, 10_000)
LARGE = (*SIZES, 100_000)
"""The numbers of messages in the sessions whose appends are timed."""

BETWEEN = (100, 3_000)
LARGE_BETWEEN = (*BETWEEN, 30_000)
"""Further sizes, so that a growth class is fitted to more than three points."""

ROLES = {"warm": 10} | dict.fromkeys(("reference", "far", "held", "busy with 1", "busy with 8", "read"), 1_000)
"""Sessions that grow during a measurement, and their initial numbers of messages."""

DELAY = 0.001
"""The delay of each reply by the proxy, in seconds: about a round trip between two zones of a data centre."""

_SETTINGS = "-c synchronous_commit=off -c client_min_messages=warning"
"""With synchronous_commit on, the flush to the disk would dominate all times."""


class Schema:
    """A new schema, and connections that use it."""

    def __init__(self, conninfo: str) -> None:
        self.schema = f"bench_{ULID()}".lower()
        self.settings = f"-c search_path={self.schema} {_SETTINGS}"
        self._direct = conninfo
        self._delayed: str | None = None
        self._stack = ExitStack()
        self._execute("CREATE SCHEMA {}")

    def connect(self, *, slow: bool = False) -> psycopg.Connection:
        """Return a connection, through the slow proxy if `slow`; the caller closes it."""
        if slow and self._delayed is None:
            self._delayed = self._stack.enter_context(forward_through_proxy(self._direct, delay=DELAY))
        conninfo = self._delayed if slow else self._direct
        return psycopg.connect(conninfo, autocommit=True, options=self.settings)

    @contextmanager
    def connections(self) -> Iterator[Callable[..., psycopg.Connection]]:
        """Yield a function like `connect`, whose connections are closed at the end of the block."""
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


class VariantTables(Schema):
    """The tables of the variants in one schema."""

    def __init__(self, conninfo: str, sizes: list[int]) -> None:
        super().__init__(conninfo)
        self.sizes = sizes
        self._made: set[str] = set()
        self._figures: dict[tuple[str, int], Figures] = {}

    def variant(self, name: str, connection: psycopg.Connection) -> Variant:
        """Return a variant with prepared statements on a connection, and fill its tables if needed.

        All sessions are stored before the first measurement, so that only the session's size varies, not the tables'.
        """
        variant = VARIANTS[name](connection)
        if variant.file not in self._made:
            with self.connect() as other:
                VARIANTS[name](other).prepare()
            self.fill(name, {f"neighbour-{n}": NEIGHBOURS_MESSAGES for n in range(NEIGHBOURS)})
        if name not in self._made:
            sizes = ROLES | {size: size for size in self.sizes}
            self.fill(name, {self.session(variant, role): size for role, size in sizes.items()})
        self._made |= {name, variant.file}
        warm(lambda: variant.append(self.session(variant, "warm")))
        return variant

    def fill(self, name: str, sessions: Mapping[str, int]) -> None:
        """Store sessions in a variant's tables, by id and number of messages, and vacuum the tables."""
        with self.connect() as connection:
            # Only after a durable commit can VACUUM mark the rows as visible to all.
            connection.execute("SET synchronous_commit = on")
            variant = VARIANTS[name](connection)
            with connection.transaction():
                for session_id, size in sessions.items():
                    variant.fill(session_id, size)
            variant.settle()

    def figures(self, variant: Variant, role: object) -> Figures:
        """Measure an append to a variant's session."""
        session_id = self.session(variant, role)
        append = Operation(
            partial(variant.statements, session_id), partial(variant.append, session_id), after=variant.ended
        )
        return figures_of(variant.connection, append)

    def figures_at(self, variant: Variant, size: int) -> Figures:
        """Return the figures of an append to a session of that size, measured once, before any timing."""
        key = type(variant).__name__, size
        if key not in self._figures:
            self._figures[key] = self.figures(variant, size)
        return self._figures[key]

    @staticmethod
    def session(variant: Variant, role: object) -> str:
        """Return the id of a variant's session with that size or role."""
        return f"{type(variant).__name__}-{role}"


@pytest.fixture(scope="session")
def variant_tables(server, large):
    variant_tables = VariantTables(server.conninfo, sorted(LARGE + LARGE_BETWEEN if large else SIZES + BETWEEN))
    yield variant_tables
    variant_tables.close()


@pytest.fixture
def connected(variant_tables):
    """Connect to the schema until the end of the test."""
    with variant_tables.connections() as connect:
        yield connect
