"""Removals, replacements, removed messages and changes: what they do, alone and when others are faster."""

import threading
from functools import partial

import pytest
from faults.proxy import REPLY, REQUEST, Fault, Proxy
from sides import unwrap

import dal
from dal import NewMessage


def new(content, **fields):
    return NewMessage(role="assistant", content=content, **fields)


def contents(messages):
    return [message.content for message in messages]


def numbers(messages):
    return [message.sequence for message in messages]


@pytest.fixture
def talk(store):
    """A session with the messages 0 to 4."""
    session = store.session("s", user_id="u1")
    session.append_all([new(str(n), agent_id=f"a{n}", message_id=f"m{n}", metadata={"n": n}) for n in range(5)])
    return session


def state(session):
    return session.record(), session.messages(), session.removed(), session.changes()


# Removing


def test_remove_last_returns_the_messages_in_reading_order(talk):
    before = talk.messages()
    assert talk.remove_last() == before[4:]
    assert talk.remove_last(2) == before[2:4]
    assert talk.messages() == before[:2]
    assert talk.append("user", "x").sequence == 5, "the numbers are not used again"
    assert numbers(talk.remove_last(10)) == [0, 1, 5], "as many as there are"
    record = talk.record()
    assert (record.message_count, record.next_sequence, record.revision) == (0, 6, 3)


def test_removing_the_last_of_an_empty_session_changes_nothing(talk):
    talk.remove_from(0)
    before = state(talk)
    assert talk.remove_last() == ()
    assert state(talk) == before


CHANGES = {
    "remove_from": lambda session, **options: session.remove_from(3, **options),
    "remove_last": lambda session, **options: session.remove_last(2, **options),
    "replace_from": lambda session, **options: session.replace_from(3, [new("x")], **options),
}


@pytest.mark.parametrize("change", CHANGES)
def test_if_next_refuses_what_was_overtaken(talk, change):
    before = state(talk)
    for if_next in (4, 6):
        with pytest.raises(dal.Overtaken, match=f"its next number was not {if_next}, and is 5 now") as error:
            CHANGES[change](talk, if_next=if_next)
        assert error.value.next_sequence == 5
        assert state(talk) == before
    CHANGES[change](talk, if_next=5)
    assert len(talk.removed()) == 2


@pytest.mark.parametrize("change", CHANGES)
def test_a_session_that_is_over_or_not_stored_is_refused(talk, store, change):
    for if_next in (None, 0, 5):
        with pytest.raises(dal.SessionNotFound):
            CHANGES[change](store.session("nobody"), if_next=if_next)
    talk.archive()
    before = state(talk)
    for if_next in (None, 5, 7):
        with pytest.raises(dal.SessionArchived, match="cannot re.* session 's'"):
            CHANGES[change](talk, if_next=if_next)
    assert state(talk) == before


@pytest.mark.parametrize("change", CHANGES)
def test_removed_messages_are_kept_unless_asked_otherwise(talk, change):
    before = talk.messages()
    CHANGES[change](talk)
    removed = talk.removed()
    assert [dal.Message(*[getattr(one, name) for name in dal.Message.__match_args__]) for one in removed] == list(
        before[3:]
    )
    assert {one.removed_at for one in removed} == {talk.changes()[0].changed_at}
    CHANGES[change](talk, keep=False)
    assert talk.removed() == removed


@pytest.mark.one_server  # On a cluster, no temporary table hides the library's tables from its functions.
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_removed_if_a_temporary_table_would_take_it(side, server, options, connection, change):
    raw = side.connect(server.conninfo, **options)
    store, session = side.store(raw), dal.SessionStore(connection).session("s")
    session.append_all([new(str(n)) for n in range(5)])
    store.check_schema()
    raw.execute("CREATE TEMPORARY TABLE removed_messages (LIKE removed_messages)")
    before = state(session)
    with pytest.raises(dal.DalError, match="temporary"):
        CHANGES[change](store.session("s"))
    assert state(session) == before
    raw.close()


def test_pages_of_removed_messages(talk):
    assert talk.removed() == ()
    talk.remove_from(3)
    talk.append("user", "x")
    talk.remove_from(1)
    assert numbers(talk.removed()) == [1, 2, 3, 4, 5]
    assert numbers(talk.removed(limit=2)) == [4, 5]
    assert numbers(talk.removed(before=4, limit=2)) == [2, 3]
    assert talk.removed(before=1) == talk.removed(limit=0) == ()
    first, *_, last = talk.removed()
    assert last.removed_at > talk.changes()[0].changed_at
    assert first.removed_at == last.removed_at == talk.changes()[1].changed_at


# Replacing


def test_replace_from_regenerates_an_answer(talk):
    (answer,) = talk.replace_from(4, [new("better", metadata={"again": True})])
    assert (answer.sequence, answer.content, answer.metadata) == (5, "better", {"again": True})
    assert talk.messages() == (*talk.messages(limit=4), answer)
    record = talk.record()
    assert (record.message_count, record.next_sequence, record.revision) == (5, 6, 1)
    assert answer.created_at == record.updated_at
    assert contents(talk.removed()) == ["4"]


def test_replace_from_takes_several_messages_or_none(talk):
    replaced = talk.replace_from(2, [new("x", agent_id="b"), new("y")], session_metadata={"title": "t"})
    assert replaced == talk.latest(2)
    assert numbers(replaced) == [5, 6]
    assert talk.record().metadata == {"title": "t"}
    assert talk.agent_ids() == ("a0", "a1", "b")
    assert talk.replace_from(5, []) == ()
    assert numbers(talk.messages()) == [0, 1]
    assert talk.replace_from(9, [new("z")])[0].sequence == 7, "nothing is removed, and it is appended"
    assert [change.kind for change in talk.changes()] == ["replace"] * 3
    assert talk.changes()[2].messages == 0
    assert talk.changes()[2].first_sequence is None


def test_a_new_message_may_have_the_id_of_a_removed_one(talk):
    (edited,) = talk.replace_from(2, [new("edited", message_id="m2")])
    assert talk.message("m2") == edited
    assert (edited.sequence, talk.removed()[0].message_id) == (5, "m2")
    talk.replace_from(2, [new("edited again", message_id="m2")])
    assert [one.content for one in talk.removed() if one.message_id == "m2"] == ["2", "edited"]


def test_a_new_message_must_not_have_the_id_of_one_that_stays(talk):
    before = state(talk)
    with pytest.raises(dal.MessageConflict, match="holds a message 'm1' before number 2"):
        talk.replace_from(2, [new("x"), new("1", message_id="m1")])
    assert state(talk) == before
    with pytest.raises(dal.InvalidInput, match="message_id 'x' twice"):
        talk.replace_from(2, [new("x", message_id="x"), new("y", message_id="x")])


def test_a_writer_replaces_and_removes(store):
    with store.writer() as writer:
        session = writer.session("w")
        session.append_all([new(str(n)) for n in range(4)])
        assert session.replace_from(3, [new("x")])[0].sequence == 4
        assert contents(session.remove_last(2)) == ["2", "x"]
        assert session.append("user", "y").sequence == 5


# Changes


def test_changes_are_listed_in_order(talk):
    assert talk.changes() == ()
    talk.append("user", "x")
    assert talk.changes() == (), "an append is not a change"
    talk.remove_from(4)
    talk.replace_from(1, [new("x"), new("y")])
    talk.remove_last(1)
    listed = talk.changes()
    assert [(c.revision, c.kind, c.first_sequence, c.last_sequence, c.messages) for c in listed] == [
        (1, "remove", 4, 5, 2),
        (2, "replace", 1, 3, 3),
        (3, "remove", 7, 7, 1),
    ]
    assert talk.changes(after=1) == listed[1:]
    assert talk.changes(after=1, limit=1) == listed[1:2]
    assert talk.changes(after=3) == talk.changes(after=99) == ()
    assert listed[-1].revision == talk.record().revision


def test_a_gap_shows_that_old_changes_were_deleted(talk, connection):
    for _ in range(3):
        talk.remove_last()
    connection.execute("UPDATE changes SET changed_at = now() - interval '61 minutes' WHERE revision < 3")
    talk.remove_last()
    assert [change.revision for change in talk.changes(after=1)] == [3, 4], "more than 1 + 1"
    assert [change.revision for change in talk.changes(after=2)] == [3, 4]


# Repeated statements


def test_a_repeated_removal_returns_the_same_messages(talk, connection, form):
    remove_last = form(dal.queries.messages.remove_last)
    removal = {"session_id": "s", "n": 2, "change_id": "c1", "if_next": 5}
    first = remove_last(connection, keep=True, **removal)
    talk.append("user", "since")
    assert remove_last(connection, keep=True, **removal) == first
    talk.remove_last(2)
    talk.archive()
    assert remove_last(connection, keep=True, **removal) == first
    assert remove_last(connection, keep=True, owner="u2", **removal) == []
    assert contents(row.message for row in first) == ["3", "4"]


def test_a_repeated_removal_has_nothing_to_return_if_nothing_was_kept(talk, monkeypatch, side):
    monkeypatch.setattr(f"dal._{side.name}.removing.new_id", lambda: "c1")
    assert contents(talk.remove_last(2, keep=False)) == ["3", "4"]
    with pytest.raises(dal.StatementFailed, match="2 messages of session 's' were removed, but the connection"):
        talk.remove_last(2, keep=False)
    assert contents(talk.messages()) == ["0", "1", "2"]


def test_a_repeated_replacement_returns_the_same_messages(talk, monkeypatch, side):
    monkeypatch.setattr(f"dal._{side.name}.removing.new_id", lambda: "c1")
    given = [new("x", message_id="x"), new("y", message_id="y")]
    first = talk.replace_from(3, given, if_next=5)
    talk.append("user", "since")
    assert talk.replace_from(3, given, if_next=5) == first
    assert contents(talk.messages()) == ["0", "1", "2", "x", "y", "since"]
    assert talk.record().revision == 1
    monkeypatch.undo()
    talk.remove_last(2)
    monkeypatch.setattr(f"dal._{side.name}.removing.new_id", lambda: "c1")
    with pytest.raises(dal.StatementFailed, match="are not all there"):
        talk.replace_from(3, given)
    assert contents(talk.messages()) == ["0", "1", "2", "x"]


# When others are faster


@pytest.fixture
def overtaken(side, connect, talk):
    """Call a method of the talk that waits for another transaction, which makes the given changes first."""
    others = dal.SessionStore(connect(autocommit=False))

    def run(change, *operations):
        holder = others._backend.runner.source._connection
        change(others.session("s"))
        timer = threading.Timer(0.3, holder.commit)
        timer.start()
        outcomes = side.call_concurrently([partial(operation, unwrap(talk)) for operation in operations])
        timer.join()
        return outcomes

    return run


def test_messages_that_are_appended_while_a_removal_waits_stay(talk, overtaken):
    append = lambda other: other.append("user", "since")  # noqa: E731
    (removed,) = overtaken(append, lambda mine: mine.remove_last(2))
    assert contents(removed) == ["3", "4"]
    (count,) = overtaken(append, lambda mine: mine.remove_from(2))
    assert count == 2, "2 and the message that was there before"
    (replaced,) = overtaken(append, lambda mine: mine.replace_from(1, [new("x")]))
    assert contents(talk.messages()) == ["0", "since", "x"]
    assert replaced == talk.latest(1)
    assert talk.record().message_count == 3


def test_a_removal_that_was_overtaken_by_another_one_sees_it(talk, overtaken):
    (removed,) = overtaken(lambda other: other.remove_last(1), lambda mine: mine.remove_last(1))
    assert contents(removed) == ["3"], "not the same message, and not none"
    (removed,) = overtaken(lambda other: other.replace_from(2, [new("x")]), lambda mine: mine.remove_last(1))
    assert contents(removed) == ["x"]
    (count,) = overtaken(lambda other: other.replace_from(1, [new("y")]), lambda mine: mine.remove_from(1))
    assert count == 1
    assert contents(talk.messages()) == ["0"]


def test_the_later_one_of_two_replacements_replaces_the_other(talk, overtaken):
    (replaced,) = overtaken(
        lambda other: other.replace_from(4, [new("theirs")]), lambda mine: mine.replace_from(4, [new("mine")])
    )
    assert talk.messages()[4:] == replaced
    assert contents(talk.removed()) == ["4", "theirs"]
    (error,) = overtaken(
        lambda other: other.replace_from(4, [new("theirs")]), lambda mine: mine.replace_from(4, [new("x")], if_next=7)
    )
    assert isinstance(error, dal.Overtaken)
    assert contents(talk.latest(1)) == ["theirs"]


@pytest.mark.parametrize("end", ["archive", "delete"])
def test_a_removal_is_refused_if_the_session_ended_first(talk, overtaken, end):
    outcomes = overtaken(lambda other: getattr(other, end)(), *[partial(CHANGES[change]) for change in CHANGES][:1])
    assert isinstance(outcomes[0], dal.SessionArchived if end == "archive" else dal.SessionNotFound)


@pytest.mark.parametrize("query", ["remove_from", "remove_last", "replace_from"])
def test_a_statement_that_is_repeated_while_the_first_one_runs(talk, connect, form, query):
    """As after a lost connection, while the first statement still waits for a lock."""
    holder, connections = connect(autocommit=False), [connect(), connect()]
    dal.SessionStore(holder).session("s").append("user", "held")
    given = {
        "remove_from": {"sequence": 3},
        "remove_last": {"n": 2},
        "replace_from": {
            "sequence": 3,
            "session_changes": None,
            "message_ids": ["x"],
            "roles": ["user"],
            "agent_ids": [""],
            "contents": ["x"],
            "metadata": ["{}"],
        },
    }[query]
    outcomes = []

    def send(connection):
        while True:
            rows = form(getattr(dal.queries.messages, query))(
                connection, session_id="s", change_id="c1", keep=True, if_next=None, **given
            )
            rows = rows if isinstance(rows, list) else [rows]
            if not rows[0].is_stale:
                outcomes.append(rows)
                return

    threads = [threading.Thread(target=send, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    threading.Event().wait(0.3)
    holder.commit()
    for thread in threads:
        thread.join(20)
    first, second = outcomes
    assert first == second
    assert talk.record().revision == 1
    assert contents(talk.messages()) == ["0", "1", "2", "held"] + ["x"] * (query == "replace_from")


def test_a_stale_statement_has_changed_nothing(talk, connect, connection, form):
    """The store runs it again; a caller of the query file sees it."""
    remove_last = form(dal.queries.messages.remove_last)
    holder, outcome = connect(autocommit=False), []
    dal.SessionStore(holder).session("s").pause()
    holder.execute("UPDATE sessions SET revision = revision + 1")
    removal = {"session_id": "s", "n": 2, "change_id": "c1", "keep": True, "if_next": None}
    thread = threading.Thread(target=lambda: outcome.append(remove_last(connection, **removal)))
    thread.start()
    threading.Event().wait(0.3)
    holder.commit()
    thread.join(20)
    (row,) = outcome[0]
    assert (row.messages, row.is_refused, row.is_stale, row.sequence) == (0, False, True, None)
    assert len(talk.messages()) == 5
    assert connection.execute("SELECT count(*) FROM changes WHERE change_id = 'c1'").fetchone() == (0,)


@pytest.mark.parametrize("change", CHANGES)
def test_a_session_that_is_stored_a_moment_later_is_not_found(store, side, monkeypatch, connection, change):
    session = store.session("later")
    kind = type(unwrap(session))
    why_nothing = kind._why_nothing

    def stored_first(*args):
        dal.SessionStore(connection).session("later").append("user", "x")
        return why_nothing(*args)

    monkeypatch.setattr(kind, "_why_nothing", stored_first)
    with pytest.raises(dal.SessionNotFound):
        CHANGES[change](session)


@pytest.mark.parametrize("direction", [REQUEST, REPLY])
def test_a_change_is_made_once_although_the_connection_is_lost(side, server, schema, tables, direction):
    """Either the statement or its reply is lost; the store sends it again."""
    with Proxy(server.conninfo) as proxy, side.connect_store(proxy.conninfo, schema=schema, max_size=1) as store:
        for name, change in CHANGES.items():
            session = store.session(name)
            session.append_all([new(str(n)) for n in range(5)])
            fault = proxy.arm(Fault("cut", direction, message=0))
            outcome = change(session)
            assert fault.fired.is_set()
            assert (outcome if name == "remove_from" else contents(outcome)) == {
                "remove_from": 2, "remove_last": ["3", "4"], "replace_from": ["x"],
            }[name]  # fmt: skip
            assert contents(session.removed()) == ["3", "4"]
            assert session.record().revision == 1


def test_what_was_not_kept_cannot_be_returned_after_a_lost_reply(side, server, schema, tables):
    with Proxy(server.conninfo) as proxy, side.connect_store(proxy.conninfo, schema=schema, max_size=1) as store:
        session = store.session("s")
        session.append_all([new(str(n)) for n in range(5)])
        proxy.arm(Fault("cut", REPLY, message=0))
        with pytest.raises(dal.StatementFailed, match="2 messages of session 's' were removed"):
            session.remove_last(2, keep=False)
        assert contents(session.messages()) == ["0", "1", "2"]
