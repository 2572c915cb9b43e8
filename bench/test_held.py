"""While another transaction holds a snapshot, old row versions stay, and every append may walk past them."""

from functools import partial

import pytest
from field import WAYS
from lazy_sessions import Eager, Lazy, three
from many import PAGES
from measures import Operation, classes, figures_of, gated, warm
from promises_kept import broken
from ulid import ULID
from ways import AGENT, ROLE, Ours, content

from dal.gate.measure.snapshot import held_snapshot

TITLE = "while a snapshot is held: an operation after so many appends to what it reads or writes"
APPENDS = (0, 100, 200, 500, 1_000)
"""How many appends the snapshot is old when the next one is measured."""


@pytest.mark.parametrize("name", WAYS)
def test_an_append_under_a_held_snapshot(field, connected, ledger, name):
    way = field.way(name, connected())
    session = field.session(way, "held")
    at = over_time(way.connection, lambda: way.append(session), lambda: field.figures(way, "held"))
    tell(ledger, "append", way.title, at)
    if isinstance(way, Ours):
        assert broken("messages/append", "the appends since", {age + 1: one for age, one in at.items()}) == []


READS = {
    "latest(20)": lambda session: session.latest(20),
    "messages(limit=20)": lambda session: session.messages(limit=20),
    "agent_ids()": lambda session: session.agent_ids(),
    "record()": lambda session: session.record(),
}


@pytest.mark.parametrize("read", READS)
def test_a_read_under_a_held_snapshot(field, connected, ledger, read):
    way = field.way("Ours", connected())
    field.fill("Ours", {f"held {read}": 1_000})
    session = way.store.session(f"held {read}")
    warm(lambda: READS[read](session))

    def append():
        session.append(ROLE, content(), agent_id=AGENT)

    # The latest messages are to be new ones: those that the table was filled with lie closer together.
    warm(append)
    warm(append)
    at = over_time(way.connection, append, lambda: figures_of(way.connection, Operation(lambda: READS[read](session))))
    tell(ledger, read, "ours", at)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_sessions_under_a_held_snapshot(many, ledger, name):
    with many.connections() as connect:
        connection = connect()
        page, append = many.page(name, connection), partial(many.append, connection)
        append()  # Now it is the first of the list, where it will stay.
        many.settle(connection)
        warm(page)
        at = over_time(connection, append, lambda: figures_of(connection, Operation(page)))
    tell(ledger, "sessions", name, at)


@pytest.mark.parametrize("kind", [Lazy, Eager])
def test_three_sessions_under_a_held_snapshot(field, connected, ledger, kind):
    way = kind(field, connected())

    def begin():
        session_id = str(ULID())
        way.open(session_id)
        way.append(session_id)

    warm(begin)
    operation = Operation(lambda: three(way, way.inside), lambda: three(way, way.append))
    at = over_time(way.way.connection, begin, lambda: figures_of(way.way.connection, operation))
    tell(ledger, "three sessions", way.title, at)


def over_time(connection, append, measure):
    """Measure while a snapshot grows old by appends."""
    at, done = {}, 0
    with held_snapshot(connection):
        for age in APPENDS:
            for _ in range(age - done):
                append()
            done = age
            at[age] = measure()
    return at


def tell(ledger, operation, title, at):
    row = f"{operation}, {title}"
    table = ledger.table(f"{TITLE}: {'appends' if operation == 'append' else 'all else'}")
    table.over = "appends since"
    # A size of 0 has no logarithm.
    grown = classes({age + 1: figures for age, figures in at.items()})["buffers"]
    table.curve(row, "buffers", at, grown)
    ledger.gate(f"held snapshot, {row}: buffers in the appends since", gated("buffers", grown))
