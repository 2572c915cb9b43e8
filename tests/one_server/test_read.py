"""Reading messages, and removing them."""

import pytest

import dal


@pytest.fixture
def session(store):
    session = store.session()
    session.append_all([dal.NewMessage(role="user", content=str(n), message_id=f"m{n}") for n in range(10)])
    return session


def numbers(messages):
    return [message.sequence for message in messages]


def test_latest_is_in_order(session):
    assert numbers(session.latest(3)) == [7, 8, 9]
    assert numbers(session.latest()) == list(range(10))
    assert session.latest(0) == ()


def test_pagination_forwards_and_backwards(session):
    assert numbers(session.messages(limit=4)) == [0, 1, 2, 3]
    assert numbers(session.messages(after=3, limit=4)) == [4, 5, 6, 7]
    assert numbers(session.messages(after=7, limit=4)) == [8, 9]
    assert session.messages(after=9) == ()
    assert numbers(session.messages(after=-1, limit=1)) == [0]
    assert numbers(session.messages(before=9, limit=4)) == [5, 6, 7, 8]
    assert numbers(session.messages(before=2)) == [0, 1]
    assert session.messages(before=0) == ()


def test_after_and_before_exclude_each_other(session):
    with pytest.raises(dal.InvalidInput, match="together with after"):
        session.messages(after=1, before=5)


def test_a_message_by_its_id(session):
    assert session.message("m4").sequence == 4
    assert session.message("none") is None


def test_a_session_that_is_not_stored_reads_as_empty(store):
    for session in (store.session(), store.session("nobody")):
        assert session.latest(5) == session.messages() == session.agent_ids() == ()
        assert session.message("m") is None


def test_removed_numbers_are_not_reused(session):
    assert session.remove_from(7) == 3
    assert numbers(session.messages()) == list(range(7))
    record = session.record()
    assert (record.next_sequence, record.message_count) == (10, 7)
    assert session.append("user", "next").sequence == 10
    assert numbers(session.latest(2)) == [6, 10]
    assert session.remove_from(10) == 1, "the last message is removed"
    assert session.remove_from(10) == 0
    assert session.record().message_count == 7


def test_the_id_of_a_removed_message_can_be_reused(session):
    session.remove_from(9)
    again = session.append("user", "another answer", message_id="m9")
    assert (again.sequence, again.content) == (10, "another answer")


def test_removing_nothing_does_not_count_as_activity(session):
    before = session.record()
    assert session.remove_from(100) == 0
    assert session.record() == before


def test_removing_all_messages_keeps_the_session(session):
    assert session.remove_from(0) == 10
    assert session.record().message_count == 0
    assert session.latest() == ()


def test_removing_from_an_archived_or_missing_session_is_refused(session, store):
    session.archive()
    with pytest.raises(dal.SessionArchived, match="cannot remove from"):
        session.remove_from(0)
    assert len(session.messages()) == 10
    with pytest.raises(dal.SessionNotFound):
        store.session("nobody").remove_from(0)


def test_open_returns_record_messages_and_agents(store):
    session = store.session("s", source="telegram", metadata={"a": 1})
    assert session.open() == dal.Opened(None, (), ())
    assert not session.persisted
    for n in range(5):
        session.append("user", str(n), agent_id=("b", "a", None)[n % 3])
    opened = store.session("s").open(latest=2)
    assert opened == dal.Opened(session.record(), session.latest(2), ("b", "a"))
    assert [message.content for message in opened.messages] == ["3", "4"]
    assert session.open(latest=0) == dal.Opened(session.record(), (), ("b", "a"))
    session.archive()
    assert session.open().record.agent_ids is None, "open does not cache the list"
    assert session.open().agent_ids == session.agent_ids() == ("b", "a")
    assert session.open() == dal.Opened(session.record(), session.messages(), ("b", "a"))


def test_open_of_a_session_without_messages(store):
    session = store.session("s")
    session.append("user", "x", agent_id="a")
    session.remove_from(0)
    assert session.open() == dal.Opened(session.record(), (), ())
