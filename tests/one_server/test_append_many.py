"""`store.append_all`: append to many sessions in one statement."""

import pickle
import threading

import pytest
from psycopg.conninfo import make_conninfo
from sides import unwrap

import dal
from dal import NewMessage
from dal.gate import wire

FIELDS = ("source", "user_id", "parent_id")


def new_message(content, message_id=None, **more):
    return NewMessage(role="user", content=content, message_id=message_id, **more)


@pytest.fixture
def append(store):
    """Append to sessions of a store, by default of the fixture's."""

    def append(*pairs, to=store):
        return to.append_all([(unwrap(session), new) for session, new in pairs])

    return append


def contents(store, session_id):
    return [message.content for message in store.session(session_id).messages()]


def test_each_session_gets_its_messages_in_order(store, append):
    there = store.session("there")
    there.append("user", "first")
    new = store.session("new", source="telegram", user_id="u1", metadata={"a": 1})
    stored = append(
        (there, new_message("1")),
        (new, new_message("a")),
        (there, new_message("2")),
        (new, new_message("b", agent_id="x")),
    )
    assert [(one.session_id, one.sequence, one.content) for one in stored] == [
        ("there", 1, "1"), ("new", 0, "a"), ("there", 2, "2"), ("new", 1, "b")
    ]  # fmt: skip
    assert new.persisted
    assert contents(store, "there") == ["first", "1", "2"]
    assert new.messages() == (stored[1], stored[3])
    record = new.record()
    assert (record.source, record.user_id, record.metadata, record.message_count) == ("telegram", "u1", {"a": 1}, 2)
    assert append() == ()


@pytest.mark.parametrize("text", ["\\", "a\\b", '"', '","', "{}", ",", "NULL", "null", "", " ", '\\"', "\n"])
def test_special_characters_of_arrays_round_trip(store, append, text):
    """In each array parameter in turn, next to a plain element."""
    append(*[(store.session("content"), new_message(content)) for content in ("plain", text)])
    assert contents(store, "content") == ["plain", text]
    assert [append((store.session("metadata"), new_message("x", metadata={"a": text})))[0].metadata] == [{"a": text}]
    assert store.session("metadata").messages()[0].metadata == {"a": text}
    if text:
        append(*[(store.session(f"{name} s"), new_message("x", name, agent_id=name)) for name in ("plain", text)])
        (message,) = store.session(f"{text} s").messages()
        assert (message.message_id, message.agent_id) == (text, text)


def test_a_thousand_sessions_take_one_round_trip(side, server, options, tables):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    store.check_schema()
    sessions = [unwrap(store.session()) for _ in range(1000)]
    with wire.watch(unwrap(raw)) as watched:
        stored = store.append_all([(session, new_message(session.id)) for session in sessions])
    assert watched.round_trips == 1
    assert [one.content for one in stored] == [session.id for session in sessions]
    assert {one.sequence for one in stored} == {0}
    raw.close()


def test_a_repeated_append_returns_the_stored_messages(store, append):
    sessions = [store.session(f"s{n}") for n in range(3)]
    pairs = [(session, new_message(f"{n}", f"m{n}")) for n in range(3) for session in sessions]
    first = append(*pairs)
    assert append(*pairs) == first
    mixed = append((sessions[0], new_message("new")), *pairs[:2], (sessions[1], new_message("newer")))
    assert [one.sequence for one in mixed] == [3, 0, 0, 3]
    assert {session.record().message_count for session in sessions[:2]} == {4}


def test_refused_sessions_do_not_affect_the_others(store, append):
    archived, taken, fine = (store.session(name) for name in ("archived", "taken", "fine"))
    archived.append("user", "x")
    archived.archive()
    taken.append("user", "x", message_id="m")
    with pytest.raises(dal.PartlyRefused, match="3 of 5 messages failed, .*'archived': it is archived") as error:
        append(
            (fine, new_message("1")), (archived, new_message("late")),
            (taken, new_message("other", "m")), (taken, new_message("with it")),
            (fine, new_message("2")),
        )  # fmt: skip
    kinds = [type(one) for one in error.value.outcomes]
    assert kinds == [dal.Message, dal.SessionArchived, dal.MessageConflict, dal.MessageConflict, dal.Message]
    assert "'m'" in str(error.value.outcomes[3]), "a session stores all of its messages or none"
    assert [one.sequence for one in error.value.outcomes[::4]] == [0, 1]
    assert contents(store, "fine") == ["1", "2"]
    assert contents(store, "archived") == contents(store, "taken") == ["x"]
    assert taken.record().next_sequence == 1
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.outcomes[0]) == (str(error.value), error.value.outcomes[0])


def test_a_confined_store_cannot_append_to_other_users_sessions(store, append):
    store.session("theirs", user_id="u2").append("user", "secret", message_id="m")
    store.session("nobodys").append("user", "secret", message_id="m")
    mine = store.for_user("u1")
    pairs = [
        (mine.session(name), new_message(text, "m")) for name in ("theirs", "mine", "nobodys") for text in ("secret",)
    ]
    with pytest.raises(dal.PartlyRefused) as error:
        append(*pairs, to=mine)
    kinds = [type(one) for one in error.value.outcomes]
    assert kinds == [dal.SessionNotFound, dal.Message, dal.SessionNotFound]
    assert {record.session_id: record.message_count for record in store.sessions()} == {
        "theirs": 1, "nobodys": 1, "mine": 1
    }  # fmt: skip
    assert store.session("mine").record().user_id == "u1"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda store, _: [(store.session(), new_message("\0"))], r"messages\[0\]\.content: holds a NUL"),
        (lambda store, _: [(store.session("s"), new_message("x", "m"))] * 2, "message_id 'm' twice"),
        (lambda store, _: [new_message("x")], r"messages\[0\]: must be a tuple of a session and a NewMessage"),
        (lambda store, _: [(store.session(), "x")], "a session and a NewMessage"),
        (
            lambda store, _: [("s", new_message("x"))],
            r"messages\[0\]: must begin with a session that this store has opened",
        ),
        (lambda store, _: [(store.for_user("u").session(), new_message("x"))], "that this store has opened"),
        (lambda store, _: (store.session(), new_message("x")), "must be a tuple of a session"),
        (lambda store, size: [(store.session(), new_message("x" * size)) for _ in range(2)], "is the most"),
    ],
)
def test_invalid_messages_are_refused_with_nothing_sent(store, make, error):
    pairs = make(store, dal.validate.MAX_TOGETHER // 2 + 1)
    given = [(unwrap(one[0]), *one[1:]) if isinstance(one, tuple) else one for one in pairs]
    with pytest.raises(dal.InvalidInput, match=error):
        store.append_all(tuple(map(unwrap, given)))
    assert len(store.sessions()) == 0


def test_concurrent_batches_neither_deadlock_nor_leave_gaps(server, schema, tables, connection):
    """Each writer lists the sessions in a different order."""
    writers, rounds, names = 6, 30, [f"s{n}" for n in range(8)]
    operations = []
    with dal.SessionStore.connect(
        server.conninfo, schema=schema, max_size=writers, retries=0, hook=operations.append
    ) as store:

        def write(writer):
            order = names[writer:] + names[:writer]
            order = order[::-1] if writer % 2 else order
            for n in range(rounds):
                store.append_all([(store.session(name), new_message(f"{writer}.{n}")) for name in order])

        threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [operation.error for operation in operations if operation.error] == []
    for name in names:
        found = connection.execute(
            "SELECT sequence, content FROM messages WHERE session_id = %s ORDER BY sequence", [name]
        ).fetchall()
        assert [sequence for sequence, _ in found] == list(range(writers * rounds))
        for writer in range(writers):
            own = [content for _, content in found if content.startswith(f"{writer}.")]
            assert own == [f"{writer}.{n}" for n in range(rounds)]


@pytest.mark.parametrize("array_nulls", ["on", "off"])
def test_missing_values_are_null_with_any_setting_of_array_nulls(side, server, schema, connection, array_nulls):
    """For each method that sends arrays: with a value, without one, and with the text "NULL"."""
    conninfo = make_conninfo(server.conninfo, options=f"-c array_nulls={array_nulls}")
    with side.connect_store(conninfo, schema=schema, max_size=1) as store:
        openings = [{}, {"source": "web", "user_id": "u1", "parent_id": "p"}, dict.fromkeys(FIELDS, "NULL")]
        sessions = [unwrap(store.session(f"s{n}", **opening)) for n, opening in enumerate(openings)]
        stored = store.append_all(
            [(session, new_message("", agent_id=agent)) for session in sessions for agent in (None, "NULL", "a")]
        )
        with store.writer() as writer:
            alone = writer.session("alone").append("user", "x")
        store.session("s0").archive()
        exported = list(store.export())
        for n, opening in enumerate(openings):
            record = store.session(f"s{n}").record()
            assert {name: getattr(record, name) for name in FIELDS} == dict.fromkeys(FIELDS) | opening
            assert store.session(f"s{n}").messages() == stored[3 * n : 3 * n + 3]
        assert store.session("alone").messages() == (alone,)
        assert store.session("s0").agent_ids() == ("NULL", "a")
        connection.execute("DELETE FROM sessions")
        store.import_(exported)
        assert list(store.export()) == exported
