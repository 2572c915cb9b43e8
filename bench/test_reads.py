"""Reads of a session: its agents (live, archived, cached), and pages at both ends."""

from functools import partial

import pytest
from measures import Operation, Reference, figures_of, warm
from promises_kept import broken
from reads import agents, pages

PAGE = 20
ROUNDS = 40


class Library:
    """The library's tables, with a live, an archived and a cached session of every size."""

    def __init__(self, variant_tables, connection):
        self.connection = connection
        self.store = variant_tables.variant("Ours", connection).store


@pytest.fixture(scope="module")
def fill_session(variant_tables) -> None:
    with variant_tables.connect() as connection:
        store = variant_tables.variant("Ours", connection).store  # Creates the tables.
        variant_tables.fill(
            "Ours", {f"{kind}-{size}": size for kind in ("live", "archived", "cached") for size in variant_tables.sizes}
        )
        for size in variant_tables.sizes:
            store.session(f"archived-{size}").archive()
            cached = store.session(f"cached-{size}")
            cached.archive()
            cached.agent_ids()


@pytest.fixture
def library(variant_tables, fill_session, connected):
    return Library(variant_tables, connected())


def agents_of(kind):
    return lambda library, size: library.store.session(f"{kind}-{size}").agent_ids()


def forget(library, size):
    agents.forget(library.connection, session_id=f"archived-{size}")


AGENTS = {
    "cached": agents_of("cached"),
    "first read": agents_of("archived"),
    "live": agents_of("live"),
    "GROUP BY": lambda library, size: list(agents.group_by(library.connection, session_id=f"live-{size}")),
}

PAGES = {
    "latest": lambda library, size: library.store.session(f"live-{size}").latest(PAGE),
    "first": lambda library, size: library.store.session(f"live-{size}").messages(limit=PAGE),
    "after, near the end": lambda library, size: library.store.session(f"live-{size}").messages(
        after=max(size - PAGE, 0) - 1, limit=PAGE
    ),
    "before, near the start": lambda library, size: library.store.session(f"live-{size}").messages(
        before=PAGE, limit=PAGE
    ),
    "OFFSET, near the end": lambda library, size: list(
        pages.offset(library.connection, session_id=f"live-{size}", skip=max(size - PAGE, 0), limit=PAGE)
    ),
}

READS = {("agents", name): read for name, read in AGENTS.items()} | {
    ("page", name): read for name, read in PAGES.items()
}

TITLES = {
    "agents": "cost of listing the agents of a session of n messages",
    "page": f"cost of a page of {PAGE} messages of a session of n",
}

QUERIES = {("agents", name): "sessions/agent_ids" for name in AGENTS if name != "GROUP BY"} | {
    ("page", "latest"): "messages/latest",
    ("page", "first"): "messages/after",
    ("page", "after, near the end"): "messages/after",
    ("page", "before, near the start"): "messages/before",
}
"""The query behind each of our reads."""

REFERENCE = {"agents": "cached", "page": "latest"}
"""The reference of the times."""

reads = pytest.mark.parametrize("read_key", READS, ids=" ".join)


@reads
def test_cost_of_a_read(variant_tables, library, ledger, read_key):
    read, sizes = partial(READS[read_key], library), [size for size in variant_tables.sizes if size > PAGE]
    warm(partial(read, min(sizes)))
    at = {}
    for size in sizes:
        operation = Operation(partial(read, size), before=partial(forget, library, size))
        at[size] = figures_of(library.connection, operation)
    subject, name = read_key
    ledger.costs(TITLES[subject], subject, name, at)
    if read_key in QUERIES:
        assert broken(QUERIES[read_key], "the session's messages", at) == []


@reads
@pytest.mark.usefixtures("fill_session")
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "1 ms late"])
def test_time_of_a_read(variant_tables, connected, timed, slow, read_key):
    library, size, (subject, name) = Library(variant_tables, connected(slow=slow)), max(variant_tables.sizes), read_key
    read = partial(READS[read_key], library, size)
    warm(read)
    first = partial(READS[subject, REFERENCE[subject]], library, size)
    column = f"time at {size:,}, relative to {REFERENCE[subject]}" + (", replies delayed by 1 ms" if slow else "")
    timed.compare(TITLES[subject], name, column, read, Reference(first, ROUNDS, partial(forget, library, size)))
