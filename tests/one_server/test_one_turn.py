"""One turn at a time: appends with if_next, and appends that change the session's metadata."""

import pickle
from contextlib import nullcontext
from copy import copy
from functools import partial

import pytest
from faults.proxy import REPLY, Fault, Proxy
from sides import unwrap

import dal
from dal import NewMessage

APPENDS = {
    "append": lambda session, **asked: session.append("user", "x", **asked),
    "append_all": lambda session, **asked: session.append_all([NewMessage(role="user", content="x")] * 2, **asked)[0],
}


@pytest.fixture(params=APPENDS)
def append(request):
    return APPENDS[request.param]


def overtaken(append, session, if_next, **asked):
    """Append with another number than the next one; return the next one."""
    with pytest.raises(dal.Overtaken, match=f"its next number was not {if_next}, and is ") as refused:
        append(session, if_next=if_next, **asked)
    return refused.value.next_sequence


def test_an_append_with_the_next_number_is_stored(store, append):
    session = store.session("s")
    first = append(session, if_next=0)
    assert first.sequence == 0
    number = session.record().next_sequence
    assert append(session, if_next=number).sequence == number


def test_an_overtaken_append_changes_nothing(store, append):
    session = store.session("s", metadata={"a": 1})
    session.append_all([NewMessage(role="user", content="x")] * 3)
    before = session.record(), session.messages()
    for number in (0, 2, 4, 99):
        assert overtaken(append, session, number, session_metadata={"b": 2}) == 3
    assert (session.record(), session.messages()) == before


def test_an_append_above_0_creates_no_session(store, connection, append):
    assert overtaken(append, store.session("s"), 3) == 0
    assert connection.execute("SELECT FROM sessions").fetchall() == []


def test_a_session_without_a_message_has_the_number_0(store, connection, append):
    store.session("s").append("user", "x")
    connection.execute("DELETE FROM messages")
    connection.execute("UPDATE sessions SET next_sequence = 0, message_count = 0")
    assert overtaken(append, store.session("s"), 1) == 0
    assert append(store.session("s"), if_next=0).sequence == 0


def test_removed_numbers_are_not_used_again(store, append):
    session = store.session("s")
    session.append("user", "x")
    session.remove_from(0)
    assert overtaken(append, session, 0) == 1
    assert append(session, if_next=1).sequence == 1


def test_a_repeated_append_is_found_although_its_number_has_passed(store):
    session = store.session("s")
    first = session.append("user", "x", message_id="m0", if_next=0, session_metadata={"a": 1})
    session.update_metadata({"a": 2})
    again = session.append("user", "x", message_id="m0", if_next=0, session_metadata={"a": 1})
    several = session.append_all([NewMessage(role="user", content="x", message_id="m0")], if_next=0)
    assert (again, several) == (first, (first,))
    assert session.record().metadata == {"a": 2}, "the metadata was merged with the message, once"
    with pytest.raises(dal.MessageConflict):
        session.append("user", "y", message_id="m0", if_next=1)


def test_a_retry_after_a_lost_reply_is_not_overtaken(side, server, schema, tables, connection, append):  # noqa: PLR0917 - fixtures
    with Proxy(server.conninfo) as proxy, side.connect_store(proxy.conninfo, schema=schema, max_size=1) as store:
        session, number = store.session("s"), 0
        for n in range(3):
            session.latest()
            lost = proxy.arm(Fault("cut", REPLY, message=0))
            assert append(session, if_next=number, session_metadata={"n": n}).sequence == number
            assert lost.fired.is_set()
            number = session.record().next_sequence
    assert connection.execute("SELECT next_sequence - message_count, metadata FROM sessions").fetchall() == [
        (0, {"n": 2})
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("status = 'archived', archived_at = now()", dal.SessionArchived),
        ("status = 'trashed', trashed_from = 'active'", dal.SessionTrashed),
        ("status = 'deleted'", dal.SessionDeleted),
    ],
    ids=["archived", "trashed", "deleted"],
)
def test_a_session_that_refuses_appends_is_no_question_of_numbers(store, connection, append, status, error):
    store.session("s").append("user", "x")
    connection.execute(f"UPDATE sessions SET {status}")
    for number in (0, 1, 7):
        with pytest.raises(error):
            append(store.session("s"), if_next=number)


def test_a_confined_store_sees_only_numbers_of_its_user(store, append):
    theirs = store.session("s", user_id="u1")
    theirs.append("user", "x")
    assert overtaken(append, store.for_user("u1").session("s"), 0) == 1
    assert append(store.for_user("u1").session("s"), if_next=1).sequence == 1
    stranger = store.for_user("u2").session("s")
    with pytest.raises(dal.SessionNotFound):
        append(stranger, if_next=0)
    assert overtaken(append, stranger, 3) == 0, "as if no such session were stored"
    assert overtaken(append, store.for_user("u2").session("none"), 3) == 0


def test_an_existing_session_that_is_not_stored_is_not_found(store, append):
    for asked in ({}, {"if_next": 0}, {"if_next": 3}, {"session_metadata": {"a": 1}}):
        with pytest.raises(dal.SessionNotFound):
            append(store.session("s", existing=True), **asked)
    store.session("s").append("user", "x")
    assert append(store.session("s", existing=True), if_next=1).sequence == 1


@pytest.mark.parametrize("order", [1, -1], ids=["existing first", "new first"])
def test_only_sessions_that_must_exist_are_not_created(store, order):
    """append_all asks of each session what it was opened for."""
    sessions = [unwrap(store.session("a", existing=True)), unwrap(store.session("b"))][::order]
    with pytest.raises(dal.PartlyRefused) as refused:
        store.append_all([(session, NewMessage(role="user", content="x")) for session in sessions])
    assert [type(one) for one in refused.value.outcomes][::order] == [dal.SessionNotFound, dal.Message]


def test_session_metadata_is_merged_with_the_message(store, append):
    session = store.session("s", metadata={"a": 1, "b": 2})
    append(session, session_metadata={"b": 3, "c": [4]})
    assert session.record().metadata == {"a": 1, "b": 3, "c": [4]}
    append(store.session("s", metadata={"ignored": True}), session_metadata={"a": None})
    record = session.record()
    assert record.metadata == {"a": None, "b": 3, "c": [4]}
    assert record.revision == 0, "an append is not counted"
    append(session, session_metadata={})
    assert session.record().metadata == record.metadata
    assert session.metadata == {"a": 1, "b": 2}


def test_metadata_without_a_message_is_refused(store):
    with pytest.raises(dal.InvalidInput, match="messages: is empty; without a message, call update_metadata"):
        store.session("s").append_all([], session_metadata={"a": 1})
    assert store.session("s").append_all([], if_next=7) == ()


def test_transactions_can_append_with_conditions(store, append):
    session = store.session("s")
    with store.transaction() as inside:
        assert append(inside.session("s"), if_next=0, session_metadata={"a": 1}).sequence == 0
        number = inside.session("s").record().next_sequence
        assert overtaken(append, inside.session("s"), 0) == number
        assert append(inside.session("s"), if_next=number).sequence == number
    assert session.record().metadata == {"a": 1}


def test_an_overtaken_error_can_be_pickled_and_copied(store, append):
    store.session("s").append("user", "x")
    with pytest.raises(dal.Overtaken) as refused:
        append(store.session("s"), if_next=7)
    error = refused.value
    for other in (pickle.loads(pickle.dumps(error)), copy(error)):
        assert (type(other), str(other)) == (dal.Overtaken, str(error))
        assert (other.next_sequence, other.query, other.sqlstate) == (1, error.query, None)


RIVALS, TURNS = 4, 25


@pytest.mark.parametrize("through", ["pool", "writer"])
def test_of_rivals_with_the_same_number_exactly_one_wins(  # noqa: PLR0917 - fixtures
    side, server, schema, tables, connection, through
):
    with side.connect_store(server.conninfo, schema=schema, max_size=RIVALS) as pooled:
        with pooled.writer() if through == "writer" else nullcontext(pooled) as store:
            for n in range(TURNS):
                sessions = [store.session("s") for _ in range(RIVALS)]
                rivals = [
                    partial(unwrap(one).append, "user", f"{k}", if_next=n, session_metadata={"winner": k})
                    for k, one in enumerate(sessions)
                ]
                outcomes = side.call_concurrently(rivals)
                (winner,) = [one for one in outcomes if isinstance(one, dal.Message)]
                others = [one for one in outcomes if one is not winner]
                assert {type(one) for one in others} == {dal.Overtaken}
                assert {one.next_sequence for one in others} == {n + 1}
                assert winner.sequence == n
                assert sessions[0].record().metadata == {"winner": int(winner.content)}
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (TURNS,)
