"""Append: numbers, idempotence, all or nothing, archived sessions."""

from contextlib import nullcontext
from datetime import timedelta

import pytest
from sides import unwrap
from ulid import ULID

import dal
from dal import NewMessage


def test_the_first_message_creates_the_session(store):
    session = store.session(source="telegram", user_id="u1", parent_id="before", metadata={"lang": "de"})
    assert not session.persisted
    message = session.append("user", "hello", agent_id="planner", metadata={"tokens": 7})
    assert session.persisted
    assert (message.session_id, message.sequence, message.role, message.content) == (session.id, 0, "user", "hello")
    assert (message.agent_id, message.metadata) == ("planner", {"tokens": 7})
    record = store.session(session.id).record()
    assert (record.source, record.user_id, record.parent_id) == ("telegram", "u1", "before")
    assert (record.metadata, record.status) == ({"lang": "de"}, "active")
    assert record.created_at == record.updated_at == message.created_at
    assert ULID.from_str(session.id)
    assert ULID.from_str(message.message_id)


def test_numbers_are_consecutive(store):
    session = store.session("chat-1")
    assert [session.append("user", str(n)).sequence for n in range(5)] == [0, 1, 2, 3, 4]
    assert store.session("chat-1").append("user", "from another handle").sequence == 5
    record = session.record()
    assert (record.next_sequence, record.message_count) == (6, 6)


def test_messages_round_trip_exactly(store):
    session = store.session()
    stored = session.append(
        "tool", "a\nb\t'\"%\\:x é 漢 🦉", agent_id="ω", metadata={"a": [1, 2.5, None, True, {"b": "ü"}]}
    )
    assert session.message(stored.message_id) == stored
    assert session.append("assistant", "").content == ""
    assert session.latest(2)[0] == stored


def test_times_never_decrease(store):
    session = store.session()
    times = [session.append("user", str(n)).created_at for n in range(20)]
    assert times == sorted(times)
    assert session.record().updated_at == times[-1]


def test_times_stay_in_order_when_the_clock_goes_back_an_hour(store, connection):
    session = store.session()
    ahead = session.append("user", "0").created_at + timedelta(minutes=59)
    connection.execute("UPDATE sessions SET updated_at = %s", [ahead])
    assert session.append("user", "1").created_at == ahead


APPENDS = {
    "append": lambda session: session.append("user", "1"),
    "append_all": lambda session: session.append_all([dal.NewMessage(role="user", content="1")] * 2)[1],
}


@pytest.mark.parametrize("append", APPENDS.values(), ids=APPENDS)
def test_times_recover_when_the_clock_was_far_ahead(store, connection, append):
    session = store.session()
    first = session.append("user", "0").created_at
    connection.execute("UPDATE sessions SET updated_at = now() + interval '1 year'")
    message = append(session)
    assert first < message.created_at < first + timedelta(hours=1)
    assert session.record().updated_at == message.created_at


def test_a_repeated_append_returns_the_stored_message(store):
    session = store.session()
    first = session.append("user", "hello", metadata={"n": 1}, message_id="m1")
    session.append("user", "next")
    again = store.session(session.id).append("user", "hello", metadata={"n": 1}, message_id="m1")
    assert again == first
    assert session.record().next_sequence == 2


@pytest.mark.parametrize(
    "other",
    [
        {"role": "assistant"},
        {"content": "other"},
        {"agent_id": "planner"},
        {"metadata": {"n": 2}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_the_same_id_with_other_content_is_a_conflict(store, other):
    session = store.session()
    first = {"role": "user", "content": "hello", "metadata": {"n": 1}, "message_id": "m1"}
    session.append(**first)
    with pytest.raises(dal.MessageConflict, match="'m1'.*other content") as refused:
        session.append(**first | other)
    assert refused.value.query == "messages.append"
    assert session.record().next_sequence == 1


def test_message_ids_are_unique_per_session(store):
    assert store.session("a").append("user", "x", message_id="m").sequence == 0
    assert store.session("b").append("user", "y", message_id="m").sequence == 0


def test_an_archived_session_refuses_appends(store):
    session = store.session()
    first = session.append("user", "x", message_id="m")
    session.archive()
    before = session.record()
    for refused in (
        lambda: session.append("user", "y"),
        lambda: session.append_all([NewMessage(role="user", content="y")]),
        lambda: session.append_all(
            [NewMessage(role="user", content="x", message_id="m"), NewMessage(role="user", content="y")]
        ),
    ):
        with pytest.raises(dal.SessionArchived, match=r"archived, which is final; reset\(\)"):
            refused()
    assert session.append("user", "x", message_id="m") == first, "a repeated append still returns the message"
    assert session.record() == before


def test_append_all_keeps_the_order(store):
    session = store.session(user_id="u1")
    stored = session.append_all([NewMessage(role="user", content=str(n), metadata={"n": n}) for n in range(50)])
    assert [message.sequence for message in stored] == list(range(50))
    assert [message.content for message in stored] == [str(n) for n in range(50)]
    assert session.messages() == stored
    more = session.append_all(
        iter([NewMessage(role="user", content="a", agent_id="x"), NewMessage(role="b", content="")])
    )
    assert [message.sequence for message in more] == [50, 51]
    record = session.record()
    assert (record.user_id, record.next_sequence, record.message_count) == ("u1", 52, 52)


def test_append_all_without_messages_does_nothing(store):
    session = store.session()
    assert session.append_all([]) == ()
    with pytest.raises(dal.SessionNotFound):
        session.record()


def test_a_repeated_append_all_returns_the_stored_messages(store):
    session = store.session()
    batch = [NewMessage(role="user", content=str(n), message_id=f"m{n}") for n in range(3)]
    first = session.append_all(batch)
    assert session.append_all(batch) == first
    mixed = session.append_all(
        [NewMessage(role="user", content="new"), batch[1], NewMessage(role="user", content="newer")]
    )
    assert [message.sequence for message in mixed] == [3, 1, 4]
    assert session.record().message_count == 5


def test_append_all_stores_all_or_nothing(store):
    session = store.session()
    session.append("user", "x", message_id="taken")
    with pytest.raises(dal.MessageConflict, match="'taken'"):
        session.append_all(
            [NewMessage(role="user", content="new"), NewMessage(role="user", content="other", message_id="taken")]
        )
    record = session.record()
    assert (record.next_sequence, record.message_count, len(session.messages())) == (1, 1, 1)


def test_append_all_refuses_invalid_messages_and_duplicate_ids(store):
    session = store.session()
    with pytest.raises(dal.InvalidInput, match=r"messages\[1\]: must be a NewMessage, not tuple"):
        session.append_all([NewMessage(role="user", content="x"), ("user", "y")])
    with pytest.raises(dal.InvalidInput, match="message_id 'm' twice"):
        session.append_all([NewMessage(role="user", content=c, message_id="m") for c in "xy"])
    with pytest.raises(dal.InvalidInput, match=r"messages\[0\]\.role: is empty"):
        session.append_all([NewMessage(role="", content="x")])


def test_a_session_works_after_its_first_append_failed(store, connection):
    session = store.session()
    connection.execute("ALTER TABLE messages RENAME TO gone")
    with pytest.raises(dal.SchemaMismatch):
        session.append("user", "x")
    assert not session.persisted
    connection.execute("ALTER TABLE gone RENAME TO messages")
    assert session.append("user", "x").sequence == 0
    assert session.persisted


def new_message(message_id=None):
    return NewMessage(role="user", content="x", message_id=message_id)


APPENDS = {
    "append": lambda store, session: session.append("user", "x", message_id="m"),
    "append_all": lambda store, session: session.append_all([new_message(), new_message("m")]),
    "store.append_all": lambda store, session: store.append_all(
        [(unwrap(session), new_message("m")), (unwrap(store.session("other", user_id="u1")), new_message())]
    ),
}
REFUSED = {
    "archived": ("archived", None, dal.SessionArchived),
    "a conflict": ("live", None, dal.MessageConflict),
    "another user's": ("theirs", "u1", dal.SessionNotFound),
    "one's own, archived": ("archived", "u1", dal.SessionArchived),
}


@pytest.mark.parametrize("through", ["store", "writer"])
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("append", APPENDS)
def test_a_refused_append_does_not_change_persisted(store, append, case, through):
    for name, user in (("live", "u1"), ("archived", "u1"), ("theirs", "u2")):
        store.session(name, user_id=user).append("user", "other", message_id="m")
    store.session("archived").remove_from(0)
    store.session("archived").archive()
    session_id, user, kind = REFUSED[case]
    with nullcontext(store) if through == "store" else store.writer() as target:
        used = target if user is None else target.for_user(user)
        new, known = used.session(session_id), used.session(session_id)
        known.open()
        before = known.persisted
        for session in (new, known):
            with pytest.raises((kind, dal.PartlyRefused)) as refused:
                APPENDS[append](used, session)
            assert isinstance(getattr(refused.value, "outcomes", [refused.value])[0], kind)
        assert (new.persisted, known.persisted) == (False, before)
        assert before == (kind is not dal.SessionNotFound)


def test_each_append_is_one_statement(side, server, options, tables):
    connection = side.connect(server.conninfo, **options)
    connection.execute("SET client_min_messages = log; SET log_statement = 'all'")
    log = []
    unwrap(connection).add_notice_handler(lambda notice: log.append(notice.message_primary))
    store = side.store(connection)
    store.check_schema()
    log.clear()
    session = store.session()
    for n in range(1000):
        session.append("user", f"message {n}")
    assert len(log) == 1000
    assert all("/* dal:messages.append */" in line for line in log)
    assert not any("count(" in line.lower() for line in log)
    connection.close()


def test_an_empty_removal_is_not_recorded(store, connection):
    session = store.session("s")
    session.append("user", "x")
    assert session.remove_from(1) == 0
    assert connection.execute("SELECT FROM changes").fetchall() == []
    assert session.remove_from(0) == 1
    assert len(connection.execute("SELECT FROM changes").fetchall()) == 1


def test_a_removal_deletes_expired_ones_of_its_session(store, connection):
    for name in ("s", "other"):
        for _ in range(3):
            store.session(name).append("user", "x")
            store.session(name).remove_from(store.session(name).latest(1)[0].sequence)
    connection.execute("UPDATE changes SET changed_at = now() - interval '61 minutes'")
    store.session("s").append("user", "x")
    assert store.session("s").remove_from(0) == 1
    left = connection.execute("SELECT session_id, count(*) FROM changes GROUP BY 1 ORDER BY 1").fetchall()
    assert left == [("other", 3), ("s", 1)], "the same statement deletes those of its own session"
