"""A third of the sessions is silent: what it costs to open three."""

from functools import partial

import pytest
from background_writers import WRITERS, beside_writers
from lazy_sessions import Eager, Lazy, three
from measures import Beside, Operation, figures_of, warm
from ulid import ULID

TITLE = "three sessions, of which one is silent"
ROUNDS = 100

kinds = pytest.mark.parametrize("kind", [Lazy, Eager])


@kinds
def test_what_three_sessions_cost(field, connected, ledger, kind):
    way = kind(field, connected())
    warm(lambda: three(way, way.append))
    silent = figures_of(way.way.connection, Operation(lambda: way.open(str(ULID()))))
    figures = figures_of(way.way.connection, Operation(lambda: three(way, way.inside), lambda: three(way, way.append)))
    told = {
        "round trips": figures.round_trips,
        "statements": figures.statements,
        "rows written": figures.cost.rows_written,
        "rows that the silent one leaves": silent.cost.rows_written,
    }
    for name, value in told.items():
        ledger.table(TITLE).tell(way.title, name, value)
        ledger.gate(f"a third silent, {way.title}: {name}", value)


@kinds
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "1 ms late"])
def test_the_time_of_three_sessions(field, connected, timed, slow, kind):
    way, ours = kind(field, connected(slow=slow)), Lazy(field, connected(slow=slow))
    warm(lambda: three(way, way.append))
    beside = Beside(lambda: three(ours, ours.append), ROUNDS)
    timed.beside(TITLE, way.title, "time, 1 ms late" if slow else "time", lambda: three(way, way.append), beside)


@kinds
@pytest.mark.parametrize("writers", WRITERS)
def test_three_sessions_beside_others_who_write(field, connected, timed, writers, kind):
    way, ways = kind(field, connected()), [field.way("Ours", connected()) for _ in range(writers)]
    appends = [partial(other.append, field.session(other, "read")) for other in ways]
    beside_writers(timed, f"three sessions, {way.title}", lambda: three(way, way.append), appends)
