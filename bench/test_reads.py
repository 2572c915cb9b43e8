"""Reading a session: its agents, live, archived and cached; and pages at both of its ends."""

from functools import partial

import pytest
from measures import Beside, Operation, figures_of, warm
from promises_kept import broken
from reads import agents, pages

PAGE = 20
ROUNDS = 40


class Library:
    """The library's tables, with a live, an archived and a cached session of every size."""

    def __init__(self, field, connection):
        self.connection = connection
        self.store = field.way("Ours", connection).store


@pytest.fixture(scope="module")
def filled(field) -> None:
    field.fill("Ours", {f"{kind}-{size}": size for kind in ("live", "archived", "cached") for size in field.sizes})
    with field.connect() as connection:
        store = field.way("Ours", connection).store
        for size in field.sizes:
            store.session(f"archived-{size}").archive()
            cached = store.session(f"cached-{size}")
            cached.archive()
            cached.agent_ids()


@pytest.fixture
def library(field, filled, connected):
    return Library(field, connected())


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

TITLES = {"agents": "the agents of a session of n messages", "page": f"a page of {PAGE} messages of a session of n"}

QUERIES = {("agents", name): "sessions/agent_ids" for name in AGENTS if name != "GROUP BY"} | {
    ("page", "latest"): "messages/latest",
    ("page", "first"): "messages/after",
    ("page", "after, near the end"): "messages/after",
    ("page", "before, near the start"): "messages/before",
}
"""The query behind each of our reads."""

FIRST = {"agents": "cached", "page": "latest"}
"""The read that the others are timed beside."""

reads = pytest.mark.parametrize("of", READS, ids=" ".join)


@reads
def test_what_a_read_costs(field, library, ledger, of):
    read, sizes = partial(READS[of], library), [size for size in field.sizes if size > PAGE]
    warm(partial(read, min(sizes)))
    at = {}
    for size in sizes:
        operation = Operation(partial(read, size), before=partial(forget, library, size))
        at[size] = figures_of(library.connection, operation)
    subject, name = of
    ledger.costs(TITLES[subject], subject, name, at)
    if of in QUERIES:
        assert broken(QUERIES[of], "the session's messages", at) == []


@reads
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "1 ms late"])
def test_the_time_of_a_read(field, connected, timed, slow, of):
    library, size, (subject, name) = Library(field, connected(slow=slow)), max(field.sizes), of
    read = partial(READS[of], library, size)
    warm(read)
    first = partial(READS[subject, FIRST[subject]], library, size)
    column = f"time at {size:,}, beside {FIRST[subject]}" + (", 1 ms late" if slow else "")
    timed.beside(TITLES[subject], name, column, read, Beside(first, ROUNDS, partial(forget, library, size)))
