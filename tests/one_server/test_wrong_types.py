"""A wrong type for any argument of any verb is refused, naming the argument, with nothing sent."""

import inspect
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from enum import Enum, IntEnum, StrEnum

import pytest
from sides import unwrap
from test_round_trips import public

import dal
from dal import NewMessage
from dal.gate import wire


class NoOffset(tzinfo):
    def utcoffset(self, when):
        return None


NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_TEXT = [7, True, 1.5, b"x", bytearray(b"x"), ["x"], {"x": 1}, object(), NOW, str]
NO_NUMBER = ["7", True, 1.5, b"7", [7], {}, object(), 1 + 0j, int]
NO_METADATA = ["{}", 7, 0, False, b"{}", [], [("a", 1)], (), {1, 2}, object(), dict]
WRONG = {
    # kind: what is no such thing
    "text": [None, *NO_TEXT],
    "optional text": NO_TEXT,
    "metadata": [None, *NO_METADATA],
    "optional metadata": NO_METADATA,
    "number": [None, *NO_NUMBER],
    "optional number": NO_NUMBER,
    "moment": [None, "2026-01-01", 1767225600, date(2026, 1, 1), NOW.replace(tzinfo=None),
               NOW.replace(tzinfo=NoOffset()), datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))],
    "optional moment": ["2026-01-01", 1767225600, date(2026, 1, 1), NOW.replace(tzinfo=None)],
    "lines": [None, 7, "x", b"x", object(), [None], [7], [["x"]], {"x": 1}],
    "status": [*NO_TEXT, "", "Active", ("active",)],
    "texts": [None, 7, "x", b"x", object(), ["x", None], [7], [b"x"], {"x": 1, 2: 3}, list],
    "messages": [None, 7, "x", b"x", object(), ["x"], [None], [("user", "x")], [{"role": "user"}],
                 NewMessage(role="u", content="x")],
}  # fmt: skip

SESSION = {
    # verb: what each argument is
    "append": {
        "role": "text", "content": "text", "agent_id": "optional text", "metadata": "optional metadata",
        "message_id": "optional text",
    },
    "append_all": {"messages": "messages"},
    "latest": {"limit": "number"},
    "open": {"latest": "number"},
    "messages": {"after": "optional number", "before": "optional number", "limit": "number"},
    "message": {"message_id": "text"},
    "remove_from": {"sequence": "number"},
    "update_metadata": {"metadata": "metadata"},
    "reset": {"metadata": "optional metadata"},
    **{verb: {} for verb in ("agent_ids", "archive", "delete", "pause", "record", "resume", "stream")},
}  # fmt: skip
STORE = {
    "session": {
        "session_id": "optional text", "source": "optional text", "user_id": "optional text",
        "parent_id": "optional text", "metadata": "optional metadata",
    },
    "sessions": {
        "user_id": "optional text", "source": "optional text", "status": "status", "limit": "number",
        "cursor": "optional text",
    },
    "append_all": {"messages": "messages"},
    "agent_ids": {"session_ids": "texts"},
    "for_user": {"user_id": "text"},
    "delete_idle": {"before": "moment", "limit": "number"},
    "export": {
        "user_id": "optional text", "source": "optional text", "since": "optional moment", "until": "optional moment",
    },
    "import_": {"lines": "lines"},
    "writer": {"waiting": "number"},
    **{verb: {} for verb in ("apply_schema", "check_schema", "close", "connection", "transaction")},
}  # fmt: skip
GOOD = {"role": "user", "content": "x", "message_id": "m", "sequence": 0, "before": NOW}

CASES = [
    (of, verb, argument, value)
    for of, verbs in (("session", SESSION), ("store", STORE))
    for verb, arguments in verbs.items()
    for argument, kind in arguments.items()
    for value in WRONG[kind]
]


def arguments_of(kind, verb):
    return [name for name in inspect.signature(getattr(kind, verb)).parameters if name != "self"]


def test_every_argument_of_every_verb_is_here():
    """But those that make a store: they are no verbs' arguments."""
    for kinds, verbs, but in (
        ((dal.Session, dal.AsyncSession), SESSION, set()),
        ((dal.SessionStore, dal.AsyncSessionStore), STORE, {"connect", "using"}),
    ):
        for kind in kinds:
            assert public(kind) - but == verbs.keys()
            assert {verb: arguments_of(kind, verb) for verb in verbs} == {verb: list(verbs[verb]) for verb in verbs}


@pytest.fixture
def raw(side, server, options, tables):
    connection = side.connect(server.conninfo, **options)
    yield connection
    connection.close()


def test_each_is_refused_by_name_and_nothing_is_sent(side, raw, figure):
    store = side.store(raw)
    session = store.session("s")
    session.append("user", "x")
    before = session.record()
    refused = []
    with wire.watch(unwrap(raw)) as watched:
        for of, verb, argument, value in CASES:
            owner, arguments = (session, SESSION) if of == "session" else (store, STORE)
            others = arguments[verb].keys() - {argument} - ({"before"} if argument == "after" else set())
            given = {name: GOOD[name] for name in others if name in GOOD}
            try:
                getattr(owner, verb)(**given, **{argument: value})
            except dal.InvalidInput as error:
                refused.append((of, verb, error.argument.partition("[")[0], value))
    assert refused == CASES
    assert watched.messages == []
    assert session.record() == before
    figure("wrong types", f"{len(CASES):,} values for the arguments of all verbs, each refused by its name")


@pytest.mark.parametrize("source", [None, 7, "postgresql://localhost", object()])
def test_a_store_of_something_else_is_refused(side, source):
    with pytest.raises(dal.InvalidInput, match="source: must be an? .*Connection"):
        side.store(source)


def test_a_connection_of_the_other_side_is_refused(server):
    with pytest.raises(dal.InvalidInput, match="AsyncConnection"):
        dal.AsyncSessionStore(dal.SessionStore.connect(server.conninfo))


@pytest.mark.parametrize("sanitize", ["", "remove", True, 7, []])
def test_an_unknown_way_to_sanitize_is_refused(side, server, sanitize):
    with pytest.raises(dal.InvalidInput, match="sanitize: "):
        side.connect_store(server.conninfo, sanitize=sanitize)


class Role(StrEnum):
    USER = "user"


class Agent(str, Enum):  # noqa: UP042 - as it was written before StrEnum
    PLANNER = "planner"


class Level(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


def test_enums_and_other_subclasses_are_what_they_are_made_of(store):
    session = store.session(Text("s"), source=Role.USER, user_id=Agent.PLANNER)
    message = session.append(
        Role.USER, Text("x"), agent_id=Agent.PLANNER, metadata={"level": Level.ONE, "who": Role.USER}
    )
    assert type(message.role) is type(message.agent_id) is type(message.content) is str
    mixed = [
        NewMessage(role=role, content=content, agent_id=agent)
        for role, content, agent in ((Role.USER, "x", None), ("tool", Text("y"), Agent.PLANNER), ("tool", "z", "coder"))
    ]
    session.append_all(mixed)
    assert session.latest(Level.ONE)[0].agent_id == "coder"
    assert session.messages(limit=2)[0] == message
    assert session.agent_ids() == ("planner", "coder")
    assert store.agent_ids([Text("s"), Role.USER]) == {"s": ("planner", "coder"), "user": ()}
    assert len(store.sessions(user_id=Agent.PLANNER, source="user", status=Text("active"))) == 1


def test_a_time_of_any_offset_is_understood(store):
    store.session("s").append("user", "x")
    moment = store.session("s").record().updated_at
    odd = timezone(timedelta(hours=3, microseconds=7))
    assert store.delete_idle(moment.astimezone(odd)) == ()
    assert store.delete_idle((moment + timedelta(microseconds=1)).astimezone(odd)) == ("s",)
    assert (
        store.delete_idle(datetime.max.replace(tzinfo=UTC)) == store.delete_idle(datetime.min.replace(tzinfo=UTC)) == ()
    )


@pytest.mark.parametrize(
    "moment",
    [
        "2026-W01-1T00:00+00:00",
        "20260101T000000Z",
        "2026-01-01T00:00:00+00:00:07.5",
        "0001-01-01T00:00Z",
        "9999-12-31T23:59Z",
    ],
)
def test_a_cursor_of_another_form_is_understood_or_refused(store, moment):
    assert len(store.sessions(cursor=f"{moment}/x")) == 0


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "infinity", "now", "2026-02-30T00:00Z"]
)
def test_a_cursor_of_no_time_is_refused(side, raw, moment):
    with wire.watch(unwrap(raw)) as watched, pytest.raises(dal.InvalidInput, match="cursor: "):
        side.store(raw).sessions(cursor=f"{moment}/x")
    assert watched.messages == []
