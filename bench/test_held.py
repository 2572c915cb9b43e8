"""Costs while another transaction holds a snapshot, which prevents the cleanup of old row versions."""

from functools import partial

import pytest
from append_variants import AGENT, ROLE, Ours, content
from lazy_sessions import Eager, Lazy, open_three
from measures import Operation, classes, figures_of, gated, warm
from promises_kept import broken
from reads import SESSION_READS
from session_lists import PAGES
from ulid import ULID
from variant_tables import VARIANTS

from dal.gate.measure.snapshot import held_snapshot

TITLE = "buffers under a held snapshot, by the number of appends since"
APPENDS = (0, 100, 200, 500, 1_000)
"""The number of appends since the snapshot, at each measurement."""


@pytest.mark.parametrize("name", VARIANTS)
def test_an_append_under_a_held_snapshot(variant_tables, connected, ledger, name):
    variant = variant_tables.variant(name, connected())
    session = variant_tables.session(variant, "held")
    at = measure_under_snapshot(
        variant.connection, lambda: variant.append(session), lambda: variant_tables.figures(variant, "held")
    )
    add_curve(ledger, "append", variant.title, at)
    if isinstance(variant, Ours):
        assert broken("messages/append", "the appends since", {age + 1: one for age, one in at.items()}) == []


@pytest.mark.parametrize("read", SESSION_READS)
def test_a_read_under_a_held_snapshot(variant_tables, connected, ledger, read):
    variant = variant_tables.variant("Ours", connected())
    variant_tables.fill("Ours", {f"held {read}": 1_000})
    session = variant.store.session(f"held {read}")
    warm(lambda: SESSION_READS[read](session))

    def append():
        session.append(ROLE, content(), agent_id=AGENT)

    # Make the latest messages new ones: those of the initial fill are stored more densely.
    warm(append)
    warm(append)
    at = measure_under_snapshot(
        variant.connection,
        append,
        lambda: figures_of(variant.connection, Operation(lambda: SESSION_READS[read](session))),
    )
    add_curve(ledger, read, "ours", at)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_sessions_under_a_held_snapshot(session_lists, ledger, name):
    with session_lists.connections() as connect:
        connection = connect()
        page, append = session_lists.page(name, connection), partial(session_lists.append, connection)
        append()  # The session is now the first of the list, and stays there.
        session_lists.settle(connection)
        warm(page)
        at = measure_under_snapshot(connection, append, lambda: figures_of(connection, Operation(page)))
    add_curve(ledger, "sessions", name, at)


@pytest.mark.parametrize("kind", [Lazy, Eager])
def test_three_sessions_under_a_held_snapshot(variant_tables, connected, ledger, kind):
    variant = kind(variant_tables, connected())

    def begin():
        session_id = str(ULID())
        variant.open(session_id)
        variant.append(session_id)

    warm(begin)
    operation = Operation(lambda: open_three(variant, variant.inside), lambda: open_three(variant, variant.append))
    at = measure_under_snapshot(
        variant.variant.connection, begin, lambda: figures_of(variant.variant.connection, operation)
    )
    add_curve(ledger, "three sessions", variant.title, at)


def measure_under_snapshot(connection, append, measure):
    """Measure after growing numbers of appends since a snapshot."""
    at, done = {}, 0
    with held_snapshot(connection):
        for age in APPENDS:
            for _ in range(age - done):
                append()
            done = age
            at[age] = measure()
    return at


def add_curve(ledger, operation, title, at):
    row = f"{operation}, {title}"
    table = ledger.table(f"{TITLE}: {'appends' if operation == 'append' else 'other operations'}")
    table.over = "appends since"
    # A size of 0 has no logarithm.
    grown = classes({age + 1: figures for age, figures in at.items()})["buffers"]
    table.curve(row, "buffers", at, grown)
    ledger.gate(f"held snapshot, {row}: buffers in the appends since", gated("buffers", grown))
