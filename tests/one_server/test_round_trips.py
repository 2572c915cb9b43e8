"""Round trips: one for every public method on a warm connection, none without server access."""

import inspect
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from sides import unwrap

import dal
from dal import NewMessage
from dal.gate import wire

OLD = datetime(2000, 1, 1, tzinfo=UTC)

SESSION_CALLS = {
    "agent_ids": lambda session: session.agent_ids(),
    "annotate": lambda session: session.annotate("m0", {"rating": 5}),
    "append": lambda session: session.append("user", "hello", metadata={"tokens": 7}),
    "append_all": lambda session: session.append_all([NewMessage(role="user", content="x") for _ in range(100)]),
    "archive": lambda session: session.archive(),
    "changes": lambda session: session.changes(after=0, limit=100),
    "create": lambda session: session.create(),
    "delete": lambda session: session.delete(),
    "fork": lambda session: session.fork(1),
    "latest": lambda session: session.latest(20),
    "message": lambda session: session.message("m0"),
    "messages": lambda session: session.messages(after=0, limit=100),
    "open": lambda session: session.open(latest=20),
    "pause": lambda session: session.pause(),
    "record": lambda session: session.record(),
    "redact": lambda session: session.redact("m0"),
    "remove_from": lambda session: session.remove_from(1),
    "remove_last": lambda session: session.remove_last(),
    "removed": lambda session: session.removed(limit=100),
    "replace_from": lambda session: session.replace_from(0, [NewMessage(role="user", content="x")] * 2),
    "reset": lambda session: session.reset(),
    "restore": lambda session: session.restore(),
    "resume": lambda session: session.resume(),
    "trash": lambda session: session.trash(),
    "update_metadata": lambda session: session.update_metadata({"title": "x"}),
}

STORE_CALLS = {
    "agent_ids": lambda store: store.agent_ids(["a", "b"]),
    "append_all": lambda store: store.append_all(
        [(unwrap(store.session()), NewMessage(role="user", content="x")) for _ in range(100)]
    ),
    "count_sessions": lambda store: store.count_sessions(user_id="u1"),
    "apply_schema": lambda store: store.apply_schema(),
    "check_schema": lambda store: store.check_schema(),
    "delete_idle": lambda store: store.delete_idle(OLD, 10),
    "purge": lambda store: store.purge(OLD, 10),
    "erase_user": lambda store: store.erase_user("u1"),
    "sessions": lambda store: store.sessions(user_id="u1", limit=10),
}

FOR_ALL_USERS = {"purge"}
"""Methods that a store for one user refuses, and that send nothing then."""

WHOLE_HISTORIES = {"export", "import_", "stream"}
"""Methods whose round trips depend on the number of messages; measured below."""

SENDS_NOTHING = {
    "close",
    "connect",
    "connection",
    "for_user",
    "on_primary",
    "session",
    "transaction",
    "using",
    "writer",
}
"""Methods that send nothing themselves; a transaction is measured below."""


@pytest.fixture
def raw(side, server, options, tables):
    """A connection of either side."""
    connection = side.connect(server.conninfo, **options)
    yield connection
    connection.close()


@pytest.fixture(params=[None, "u1"], ids=["of anyone", "of a user"])
def warm_store(request, side, raw):
    store = side.store(raw, owner=request.param)
    store.check_schema()
    return store


def public(kind):
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_every_method_is_measured():
    assert public(dal.Session) == public(dal.AsyncSession) == set(SESSION_CALLS) | {"stream"}
    assert (
        public(dal.SessionStore)
        == public(dal.AsyncSessionStore)
        == set(STORE_CALLS) | SENDS_NOTHING | WHOLE_HISTORIES - {"stream"}
    )


@pytest.mark.parametrize("method", SESSION_CALLS)
def test_a_method_of_a_session_is_one_round_trip(warm_store, raw, method):
    for name in ("warm", "measured"):
        session = warm_store.session(name)
        session.append("user", "first", message_id="m0", agent_id="a")
        with wire.watch(unwrap(raw)) as recorded:
            SESSION_CALLS[method](session)
    assert recorded.round_trips == 1, recorded.messages


@pytest.mark.parametrize("method", STORE_CALLS)
def test_a_method_of_a_store_is_one_round_trip(server, warm_store, raw, method):
    if method in FOR_ALL_USERS and unwrap(warm_store)._backend.owner is not None:
        with wire.watch(unwrap(raw)) as recorded, pytest.raises(dal.StatementFailed):
            STORE_CALLS[method](warm_store)
        assert recorded.messages == []
        return
    STORE_CALLS[method](warm_store)
    with wire.watch(unwrap(raw)) as recorded:
        STORE_CALLS[method](warm_store)
    expected = 2 if server.kind == "citus" and method == "apply_schema" else 1  # It checks distributed tables instead.
    assert recorded.round_trips == expected, recorded.messages


@pytest.mark.parametrize(
    "read",
    [
        lambda session: session.create(),
        lambda session: session.messages(before=5),
        lambda session: session.append("user", "again", message_id="m0"),
        lambda session: session.append("user", "x", message_id="m1", if_next=1, session_metadata={"a": 1}),
        lambda session: session.append_all([NewMessage(role="user", content="first", message_id="m0")]),
        lambda session: session.remove_last(5),
    ],
    ids=[
        "create again",
        "messages before",
        "append refused",
        "append with conditions",
        "append_all again",
        "remove_last of nothing",
    ],
)
def test_variants_of_methods_are_one_round_trip(warm_store, raw, read):
    session = warm_store.session("s")
    session.append("user", "first", message_id="m0")
    for _ in range(2):
        with wire.watch(unwrap(raw)) as recorded:
            with suppress(dal.MessageConflict):
                read(session)
    assert recorded.round_trips == 1, recorded.messages


def test_each_append_is_one_round_trip(warm_store, raw):
    session = warm_store.session()
    trips = []
    for n in range(20):
        with wire.watch(unwrap(raw)) as recorded:
            session.append("user", str(n))
        trips.append(recorded.round_trips)
    # psycopg prepares a statement on its sixth execution: one extra round trip per connection.
    assert trips == [1] * 5 + [2] + [1] * 14


def test_a_growing_counter_prepares_a_statement_once(warm_store, raw):
    session = warm_store.session()
    session.append("user", "x")
    with wire.watch(unwrap(raw)) as recorded:
        for after in (1, 40_000, 3_000_000_000) * 4:
            session.messages(after=after)
    assert [kind for _, kind in recorded.messages].count("Parse") == 5 + 1, "five unnamed statements, then one prepared"


def test_a_transaction_adds_two_round_trips(warm_store, raw):
    with wire.watch(unwrap(raw)) as recorded, warm_store.transaction() as inside:
        session = inside.session()
        session.append("user", "x")
        session.append("user", "y")
    assert recorded.round_trips == 4


def test_borrowing_a_connection_sends_nothing(side, raw):
    store = side.store(raw)
    with wire.watch(unwrap(raw)) as recorded, store.connection():
        pass
    assert recorded.messages == []


@pytest.mark.parametrize(("messages", "pages"), [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (2_001, 3)])
def test_a_stream_is_one_round_trip_per_page_and_three(warm_store, raw, messages, pages):
    session = warm_store.session("s")
    for n in range(0, messages, 100):
        session.append_all([NewMessage(role="user", content="x")] * min(100, messages - n))
    with wire.watch(unwrap(raw)) as recorded:
        assert len(list(session.stream())) == messages
    assert recorded.round_trips == pages + 3, "an empty page, BEGIN and COMMIT"


def test_round_trips_of_an_export(warm_store, raw):
    for n in range(10):  # With more sessions, the server sends some before the Sync, which counts as a round trip.
        warm_store.session(f"s{n}").append("user", "x")
    with wire.watch(unwrap(raw)) as recorded:
        list(warm_store.export())
    assert recorded.round_trips == 3 + 3, (
        "sessions, their messages, an empty page; BEGIN, COMMIT and the end of the pipeline"
    )


def test_round_trips_of_an_import(server, warm_store, raw):
    line = '{"message": {"session_id": "s%s", "role": "u", "content": "x"}}'
    for extra in (0 if server.kind == "citus" else 3, 0):  # ANALYZE, if many messages are new.
        with wire.watch(unwrap(raw)) as recorded:
            warm_store.import_(line % (n % 9) for n in range(900))
        assert recorded.round_trips == 6 + 2 + extra, "a COPY takes two round trips"


def test_lazy_sessions_send_nothing(warm_store, raw):
    with wire.watch(unwrap(raw)) as recorded:
        session = warm_store.session(source="telegram", user_id="u1", metadata={"a": 1})
        warm_store.session("named")
        session.reset().reset()
        session.append_all([])
        warm_store.agent_ids([])
    assert recorded.messages == []


PAGES = {"messages.export", "sessions.export", "sessions.export_of_user"}
"""Queries that read the whole page anyway, and may count it."""

REMOVALS = {"messages.delete_range", "messages.remove_from", "messages.remove_last", "messages.replace_from"}
"""Queries that count the rows that they have removed."""


COUNTS = {
    "messages.redact",
    "sessions.count_of_user",
    "sessions.erase_user",
    "sessions.fork",
    "sessions.purge",
}
"""Queries that count what they were asked to count, copy, change or delete."""


DELETIONS = {"sessions.delete_idle", "sessions.delete_idle_of_user"}
"""Queries that skip the few sessions that they could not delete."""


@pytest.mark.parametrize("statement", list(dal.queries))
def test_no_query_uses_count_max_or_offset(statement):
    sql = dal.queries[statement].sql.lower()
    assert statement in PAGES | COUNTS | REMOVALS or (b"count(" not in sql and b"max(" not in sql)
    assert statement in DELETIONS or b"offset" not in sql
