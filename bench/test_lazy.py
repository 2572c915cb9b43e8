"""Three sessions are opened, and one of them never speaks: stored with the first message, or when opened."""

import pytest
from measures import Beside, Operation, figures_of, warm
from ulid import ULID

TITLE = "three sessions, of which one is silent"
ROUNDS = 100


class Lazy:
    """A session begins with its first message."""

    title = "ours"

    def __init__(self, field, connection):
        self.way = field.way("Ours", connection)
        self.append, self.inside = self.way.append, self.way.statements

    def open(self, session_id):
        self.way.store.session(session_id)


class Eager:
    """A session's row is stored as soon as it is opened; messages are stored as in ways/count.sql."""

    title = "stored when opened"

    def __init__(self, field, connection):
        self.way = field.way("Count", connection)
        self.append, self.inside = self.way.append, self.way.statements

    def open(self, session_id):
        self.way.sql.open_session(self.way.connection, session_id=session_id)


def three(way, append):
    """Open three sessions, and let two of them speak."""
    for speaks in (True, True, False):
        session_id = str(ULID())
        way.open(session_id)
        if speaks:
            append(session_id)


@pytest.mark.parametrize("kind", [Lazy, Eager])
def test_a_third_of_the_sessions_is_silent(field, connected, timed, kind):
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
        timed.ledger.table(TITLE).tell(way.title, name, value)
        timed.ledger.gate(f"a third silent, {way.title}: {name}", value)
    timed.benchmark.extra_info.update(told)
    ours = Lazy(field, connected())
    beside = Beside(lambda: three(ours, ours.append), ROUNDS)
    timed.beside(TITLE, way.title, "time", lambda: three(way, way.append), beside)
