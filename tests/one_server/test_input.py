"""Invalid input is refused with the name of its argument, and nothing is sent."""

import pickle
from datetime import UTC, datetime

import pytest
from sides import unwrap

import dal
from dal import NewMessage
from dal.gate import wire

LONG = "x" * 256
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]

REFUSED = {
    # name: (the argument that the error names, a call of a store or one of its sessions)
    "empty session id": ("session_id", lambda store, _: store.session("")),
    "long session id": ("session_id", lambda store, _: store.session(LONG)),
    "NUL in a session id": ("session_id", lambda store, _: store.session("a\0b")),
    "number as a session id": ("session_id", lambda store, _: store.session(7)),
    "empty source": ("source", lambda store, _: store.session(source="")),
    "surrogate in a user": ("user_id", lambda store, _: store.session(user_id="\ud800")),
    "long parent": ("parent_id", lambda store, _: store.session(parent_id=LONG)),
    "NaN in a session's metadata": ("metadata", lambda store, _: store.session(metadata={"a": float("nan")})),
    "empty role": ("role", lambda _, session: session.append("", "x")),
    "long role": ("role", lambda _, session: session.append(LONG, "x")),
    "no role": ("role", lambda _, session: session.append(None, "x")),
    "no content": ("content", lambda _, session: session.append("user", None)),
    "NUL in content": ("content", lambda _, session: session.append("user", "a\0b")),
    "surrogate in content": ("content", lambda _, session: session.append("user", "é\udfff")),
    "bytes as content": ("content", lambda _, session: session.append("user", b"x")),
    "empty agent": ("agent_id", lambda _, session: session.append("user", "x", agent_id="")),
    "empty message id": ("message_id", lambda _, session: session.append("user", "x", message_id="")),
    "list as metadata": ("metadata", lambda _, session: session.append("user", "x", metadata=[1])),
    "infinity": ("metadata", lambda _, session: session.append("user", "x", metadata={"a": float("inf")})),
    "a set": ("metadata", lambda _, session: session.append("user", "x", metadata={"a": {1}})),
    "a tuple": ("metadata", lambda _, session: session.append("user", "x", metadata={"a": (1, 2)})),
    "a key that is a number": ("metadata", lambda _, session: session.append("user", "x", metadata={1: 2})),
    "NUL in metadata": ("metadata", lambda _, session: session.append("user", "x", metadata={"a": ["\0"]})),
    "NUL in a key": ("metadata", lambda _, session: session.append("user", "x", metadata={"a\0": 1})),
    "surrogate in metadata": ("metadata", lambda _, session: session.append("user", "x", metadata={"a": "\ud800"})),
    "too deep": ("metadata", lambda _, session: session.append("user", "x", metadata={"a": DEEP})),
    "a number too long to print": (
        "metadata",
        lambda _, session: session.append("user", "x", metadata={"a": 10**5000}),
    ),
    "in a list": (
        "messages[1].content",
        lambda _, s: s.append_all([NewMessage(role="u", content=c) for c in ("", "\0")]),
    ),
    "negative limit": ("limit", lambda _, session: session.latest(-1)),
    "negative page": ("limit", lambda _, session: session.messages(limit=-5)),
    "limit beyond bigint": ("limit", lambda _, session: session.latest(2**63)),
    "limit that is no int": ("limit", lambda _, session: session.latest("20")),
    "limit that is a bool": ("limit", lambda _, session: session.latest(True)),
    "after below -1": ("after", lambda _, session: session.messages(after=-2)),
    "negative before": ("before", lambda _, session: session.messages(before=-1)),
    "after and before": ("before", lambda _, session: session.messages(after=1, before=2)),
    "negative sequence": ("sequence", lambda _, session: session.remove_from(-1)),
    "empty message": ("message_id", lambda _, session: session.message("")),
    "metadata that is none": ("metadata", lambda _, session: session.update_metadata("x")),
    "unknown status": ("status", lambda store, _: store.sessions(status="over")),
    "page of none": ("limit", lambda store, _: store.sessions(limit=0)),
    "no cursor": ("cursor", lambda store, _: store.sessions(cursor="yesterday")),
    "cursor without a zone": ("cursor", lambda store, _: store.sessions(cursor="2026-01-01/x")),
    "empty user": ("user_id", lambda store, _: store.sessions(user_id="")),
    "one id for many": ("session_ids", lambda store, _: store.agent_ids("abc")),
    "empty id among many": ("session_ids[1]", lambda store, _: store.agent_ids(["a", ""])),
    "time without a zone": ("before", lambda store, _: store.delete_idle(NOW.replace(tzinfo=None))),
    "time that is none": ("before", lambda store, _: store.delete_idle("2026-01-01")),
    "delete at most none": ("limit", lambda store, _: store.delete_idle(NOW, 0)),
}


@pytest.fixture
def raw(side, server, options, tables):
    connection = side.connect(server.conninfo, **options)
    yield connection
    connection.close()


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_input_is_refused_with_nothing_sent(side, raw, case):
    argument, attempt = REFUSED[case]
    store = side.store(raw)
    with wire.watch(unwrap(raw)) as watched, pytest.raises(dal.InvalidInput) as refused:
        attempt(store, store.session())
    assert watched.messages == []
    assert refused.value.argument == argument
    assert str(refused.value).startswith(f"{argument}: ")
    assert isinstance(refused.value, ValueError)
    assert refused.value.sqlstate is None


ODD_TEXTS = [
    "",
    "x" * 1_000_000,
    "'; DROP TABLE messages; --",
    "%s %(role)s :role ::text $1 {} \\u0000 \\",
    "/* dal:messages.append */",
    "\x01\x1f\x7f\x80\ufeff\uffff\U0010ffff",
    "e\u0301 漢字 🦉 \u202e",
]


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_texts_round_trip(store, text):
    session = store.session()
    given = session.append("user", text, metadata={"k" + text[:100]: [text, {"n": text}]})
    assert session.latest(1) == (given,)
    assert given.content == text


@pytest.mark.parametrize("text", [text[:255] for text in ODD_TEXTS if text], ids=range(len(ODD_TEXTS) - 1))
def test_odd_ids_round_trip(store, text):
    session = store.session(text, source=text, user_id=text, parent_id=text)
    given = session.append(text, "", agent_id=text, message_id=text)
    assert session.message(text) == given
    assert session.agent_ids() == (text,)
    assert store.sessions(user_id=text, source=text).sessions == (session.record(),)
    assert (session.record().parent_id, given.role) == (text, text)


def test_ids_of_maximum_length_fit_into_the_indexes(store):
    wide = [chr(0x1F300 + n) for n in range(256)]
    longest = "".join(wide[n * 7 % 256] for n in range(255))
    session = store.session(longest, source=longest, user_id=longest, parent_id=longest)
    session.append(longest, "", agent_id=longest, message_id=longest)
    assert session.agent_ids() == (longest,)


def test_numbers_in_metadata_round_trip(store):
    numbers = {"a": 2**63, "b": -(2**200), "c": 0.1, "d": 5e-324, "e": True, "f": None, "g": 1.5e300 / 1e290}
    assert store.session().append("user", "x", metadata=numbers).metadata == numbers
    session = store.session()
    session.append("user", "x", metadata=numbers)
    assert session.latest(1)[0].metadata == numbers


def test_sanitize_replaces_unstorable_characters(side, raw):
    store = side.store(raw, sanitize="replace")
    session = store.session()
    raw_output = "a\0b\ud800c\udfff 🦉"
    message = session.append("tool", raw_output, message_id="m")
    assert message.content == "a\ufffdb\ufffdc\ufffd 🦉"
    assert session.append("tool", raw_output, message_id="m") == message
    assert session.append_all([NewMessage(role="tool", content="\0")])[0].content == "\ufffd"
    assert session.messages(limit=1) == (message,)
    with pytest.raises(dal.InvalidInput):
        session.append("to\0ol", "x")
    with store.transaction() as inside:
        assert inside.session().append("tool", "\0").content == "\ufffd"


def test_an_invalid_connection_string_is_not_shown(side):
    with pytest.raises(dal.InvalidInput, match="conninfo: is not a connection string") as refused:
        side.connect_store("postgres//user:hunter2@host password=hunter2 oops")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_errors_can_be_pickled():
    for error in (
        dal.InvalidInput("role", "is empty"),
        dal.SessionArchived("it is", query="messages.append", sqlstate="00000"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)
