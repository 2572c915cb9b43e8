"""Every public verb is one round trip on a warm connection; what needs no server is none."""

import inspect
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from sides import unwrap

import dal
from dal import NewMessage
from dal.gate import wire

OLD = datetime(2000, 1, 1, tzinfo=UTC)

SESSION_VERBS = {
    "agent_ids": lambda session: session.agent_ids(),
    "append": lambda session: session.append("user", "hello", metadata={"tokens": 7}),
    "append_all": lambda session: session.append_all([NewMessage(role="user", content="x") for _ in range(100)]),
    "archive": lambda session: session.archive(),
    "delete": lambda session: session.delete(),
    "latest": lambda session: session.latest(20),
    "message": lambda session: session.message("m0"),
    "messages": lambda session: session.messages(after=0, limit=100),
    "open": lambda session: session.open(latest=20),
    "pause": lambda session: session.pause(),
    "record": lambda session: session.record(),
    "remove_from": lambda session: session.remove_from(1),
    "reset": lambda session: session.reset(),
    "resume": lambda session: session.resume(),
    "update_metadata": lambda session: session.update_metadata({"title": "x"}),
}

STORE_VERBS = {
    "agent_ids": lambda store: store.agent_ids(["a", "b"]),
    "append_all": lambda store: store.append_all(
        [(unwrap(store.session()), NewMessage(role="user", content="x")) for _ in range(100)]
    ),
    "apply_schema": lambda store: store.apply_schema(),
    "check_schema": lambda store: store.check_schema(),
    "delete_idle": lambda store: store.delete_idle(OLD, 10),
    "sessions": lambda store: store.sessions(user_id="u1", limit=10),
}

WHOLE = {"export", "import_", "stream"}
"""Verbs that take as many round trips as what they read or store is long; a short one is measured below."""

NO_VERBS = {"close", "connect", "connection", "for_user", "session", "transaction", "using", "writer"}
"""What sends nothing of its own; a transaction is measured below."""


@pytest.fixture
def raw(side, server, options, tables):
    """A warm connection of the side's own kind, on which a store has checked the schema."""
    connection = side.connect(server.conninfo, **options)
    yield connection
    connection.close()


@pytest.fixture(params=[None, "u1"], ids=["of anyone", "of a user"])
def wired(request, side, raw):
    store = side.store(raw, owner=request.param)
    store.check_schema()
    return store


def public(kind):
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_every_verb_is_measured_here():
    assert public(dal.Session) == public(dal.AsyncSession) == set(SESSION_VERBS) | {"stream"}
    assert public(dal.SessionStore) == public(dal.AsyncSessionStore) == set(STORE_VERBS) | NO_VERBS | WHOLE - {"stream"}


@pytest.mark.parametrize("verb", SESSION_VERBS)
def test_a_session_verb_is_one_round_trip(wired, raw, verb):
    for name in ("warm", "measured"):
        session = wired.session(name)
        session.append("user", "first", message_id="m0", agent_id="a")
        with wire.watch(unwrap(raw)) as watched:
            SESSION_VERBS[verb](session)
    assert watched.round_trips == 1, watched.messages


@pytest.mark.parametrize("verb", STORE_VERBS)
def test_a_store_verb_is_one_round_trip(wired, raw, verb):
    STORE_VERBS[verb](wired)
    with wire.watch(unwrap(raw)) as watched:
        STORE_VERBS[verb](wired)
    assert watched.round_trips == 1, watched.messages


@pytest.mark.parametrize(
    "read",
    [
        lambda session: session.messages(before=5),
        lambda session: session.append("user", "again", message_id="m0"),
        lambda session: session.append_all([NewMessage(role="user", content="first", message_id="m0")]),
    ],
    ids=["messages before", "append refused", "append_all again"],
)
def test_the_other_ways_of_a_verb_are_one_round_trip_too(wired, raw, read):
    session = wired.session("s")
    session.append("user", "first", message_id="m0")
    for _ in range(2):
        with wire.watch(unwrap(raw)) as watched:
            with suppress(dal.MessageConflict):
                read(session)
    assert watched.round_trips == 1, watched.messages


def test_the_first_message_and_the_thousandth_cost_the_same(wired, raw):
    session = wired.session()
    trips = []
    for n in range(20):
        with wire.watch(unwrap(raw)) as watched:
            session.append("user", str(n))
        trips.append(watched.round_trips)
    # The sixth time a statement is sent, psycopg prepares it: one trip more, once a connection.
    assert trips == [1] * 5 + [2] + [1] * 14


def test_a_growing_counter_prepares_a_statement_once(wired, raw):
    session = wired.session()
    session.append("user", "x")
    with wire.watch(unwrap(raw)) as watched:
        for after in (1, 40_000, 3_000_000_000) * 4:
            session.messages(after=after)
    assert [kind for _, kind in watched.messages].count("Parse") == 5 + 1, "five unnamed, and then one prepared"


def test_a_transaction_is_its_operations_and_two_more(wired, raw):
    with wire.watch(unwrap(raw)) as watched, wired.transaction() as inside:
        session = inside.session()
        session.append("user", "x")
        session.append("user", "y")
    assert watched.round_trips == 4


def test_lending_a_connection_sends_nothing(side, raw):
    store = side.store(raw)
    with wire.watch(unwrap(raw)) as watched, store.connection():
        pass
    assert watched.messages == []


@pytest.mark.parametrize(("messages", "pages"), [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (2_001, 3)])
def test_a_stream_is_its_pages_and_three_more(wired, raw, messages, pages):
    session = wired.session("s")
    for n in range(0, messages, 100):
        session.append_all([NewMessage(role="user", content="x")] * min(100, messages - n))
    with wire.watch(unwrap(raw)) as watched:
        assert len(list(session.stream())) == messages
    assert watched.round_trips == pages + 3, "one page more finds nothing, and the transaction has two ends"


def test_an_export_is_its_pages_and_three_more(wired, raw):
    for n in range(10):  # Of more, the server would send some before it is asked for the end, which counts as a trip.
        wired.session(f"s{n}").append("user", "x")
    with wire.watch(unwrap(raw)) as watched:
        list(wired.export())
    assert watched.round_trips == 3 + 3, (
        "sessions, their messages, and that there are no more; the ends of a pipeline too"
    )


def test_an_import_is_six_for_each_twenty_thousand_lines_and_two_more(wired, raw):
    line = '{"message": {"session_id": "s%s", "role": "u", "content": "x"}}'
    for extra in (3, 0):  # For the planner's statistics, where much is new.
        with wire.watch(unwrap(raw)) as watched:
            wired.import_(line % (n % 9) for n in range(900))
        assert watched.round_trips == 6 + 2 + extra, "a COPY is asked for, and then sent"


def test_opening_and_resetting_in_silence_send_nothing(wired, raw):
    with wire.watch(unwrap(raw)) as watched:
        session = wired.session(source="telegram", user_id="u1", metadata={"a": 1})
        wired.session("named")
        session.reset().reset()
        session.append_all([])
        wired.agent_ids([])
    assert watched.messages == []


PAGES = {"messages.export", "sessions.export", "sessions.export_of_user"}
"""Which look at all that is on a page anyway, and so may count it."""


DELETIONS = {"sessions.delete_idle", "sessions.delete_idle_of_user"}
"""Which pass over the few sessions that they have found they cannot delete."""


@pytest.mark.parametrize("statement", list(dal.queries))
def test_no_statement_counts_or_looks_for_the_greatest(statement):
    sql = dal.queries[statement].sql.lower()
    assert statement in PAGES or (b"count(" not in sql and b"max(" not in sql)
    assert statement in DELETIONS or b"offset" not in sql
