"""Opening three sessions, one of which gets no message."""

from functools import partial

import pytest
from background_writers import WRITERS, time_with_writers
from lazy_sessions import Eager, Lazy, open_three
from measures import Operation, Reference, figures_of, warm
from ulid import ULID

TITLE = "opening three sessions, one of which gets no message"
ROUNDS = 100

kinds = pytest.mark.parametrize("kind", [Lazy, Eager])


@kinds
def test_cost_of_three_sessions(variant_tables, connected, ledger, kind):
    variant = kind(variant_tables, connected())
    warm(lambda: open_three(variant, variant.append))
    without_messages = figures_of(variant.variant.connection, Operation(lambda: variant.open(str(ULID()))))
    figures = figures_of(
        variant.variant.connection,
        Operation(lambda: open_three(variant, variant.inside), lambda: open_three(variant, variant.append)),
    )
    figures_by_name = {
        "round trips": figures.round_trips,
        "statements": figures.statements,
        "rows written": figures.cost.rows_written,
        "rows of the session without messages": without_messages.cost.rows_written,
    }
    for name, value in figures_by_name.items():
        ledger.table(TITLE).add(variant.title, name, value)
        ledger.gate(f"three sessions, one without messages, {variant.title}: {name}", value)


@kinds
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "1 ms late"])
def test_time_of_three_sessions(variant_tables, connected, timed, slow, kind):
    variant, ours = kind(variant_tables, connected(slow=slow)), Lazy(variant_tables, connected(slow=slow))
    warm(lambda: open_three(variant, variant.append))
    reference = Reference(lambda: open_three(ours, ours.append), ROUNDS)
    timed.compare(
        TITLE,
        variant.title,
        "time, 1 ms late" if slow else "time",
        lambda: open_three(variant, variant.append),
        reference,
    )


@kinds
@pytest.mark.parametrize("writers", WRITERS)
def test_time_of_three_sessions_with_concurrent_writers(variant_tables, connected, timed, writers, kind):
    variant, variants = (
        kind(variant_tables, connected()),
        [variant_tables.variant("Ours", connected()) for _ in range(writers)],
    )
    appends = [partial(other.append, variant_tables.session(other, "read")) for other in variants]
    time_with_writers(timed, f"three sessions, {variant.title}", lambda: open_three(variant, variant.append), appends)
