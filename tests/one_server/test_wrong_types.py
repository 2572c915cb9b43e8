"""A wrong type of any argument of any method is refused with the argument's name, and nothing is sent."""

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
NOT_TEXT = [7, True, 1.5, b"x", bytearray(b"x"), ["x"], {"x": 1}, object(), NOW, str]
NOT_NUMBER = ["7", True, 1.5, b"7", [7], {}, object(), 1 + 0j, int]
NOT_METADATA = ["{}", 7, 0, False, b"{}", [], [("a", 1)], (), {1, 2}, object(), dict]
WRONG_VALUES = {
    # type: values of other types
    "text": [None, *NOT_TEXT],
    "optional text": NOT_TEXT,
    "metadata": [None, *NOT_METADATA],
    "optional metadata": NOT_METADATA,
    "number": [None, *NOT_NUMBER],
    "optional number": NOT_NUMBER,
    "flag": [None, "true", 0, 1, 1.5, [], {}, object(), bool],
    "moment": [None, "2026-01-01", 1767225600, date(2026, 1, 1), NOW.replace(tzinfo=None),
               NOW.replace(tzinfo=NoOffset()), datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))],
    "optional moment": ["2026-01-01", 1767225600, date(2026, 1, 1), NOW.replace(tzinfo=None)],
    "lines": [None, 7, "x", b"x", object(), [None], [7], [["x"]], {"x": 1}],
    "status": [*NOT_TEXT, "", "Active", (), ("active", "Active"), ["active", None]],
    "callback": [7, "x", object()],
    "texts": [None, 7, "x", b"x", object(), ["x", None], [7], [b"x"], {"x": 1, 2: 3}, list],
    "messages": [None, 7, "x", b"x", object(), ["x"], [None], [("user", "x")], [{"role": "user"}],
                 NewMessage(role="u", content="x")],
}  # fmt: skip

SESSION = {
    # method: the type of each argument
    "append": {
        "role": "text", "content": "text", "agent_id": "optional text", "metadata": "optional metadata",
        "message_id": "optional text", "session_metadata": "optional metadata", "if_next": "optional number",
    },
    "append_all": {
        "messages": "messages", "session_metadata": "optional metadata", "if_next": "optional number",
    },
    "create": {"again": "flag"},
    "annotate": {"message_id": "text", "metadata": "metadata"},
    "redact": {"message_id": "text", "content": "text"},
    "latest": {"limit": "number"},
    "open": {"latest": "number"},
    "messages": {"after": "optional number", "before": "optional number", "limit": "number"},
    "message": {"message_id": "text"},
    "fork": {"at": "optional number", "session_id": "optional text", "metadata": "optional metadata"},
    "remove_from": {"sequence": "number", "if_next": "optional number", "keep": "flag"},
    "remove_last": {"n": "number", "if_next": "optional number", "keep": "flag"},
    "replace_from": {
        "sequence": "number", "messages": "messages", "session_metadata": "optional metadata",
        "if_next": "optional number", "keep": "flag",
    },
    "removed": {"before": "optional number", "limit": "number"},
    "changes": {"after": "number", "limit": "number"},
    "update_metadata": {"metadata": "metadata", "remove": "texts", "touch": "flag"},
    "reset": {"metadata": "optional metadata"},
    "archive": {"if_next": "optional number"},
    **{method: {} for method in ("agent_ids", "delete", "pause", "record", "restore", "resume", "stream", "trash")},
}  # fmt: skip
STORE = {
    "session": {
        "session_id": "optional text", "source": "optional text", "user_id": "optional text",
        "parent_id": "optional text", "metadata": "optional metadata", "existing": "flag",
        "at_least": "optional number",
    },
    "sessions": {
        "user_id": "optional text", "source": "optional text", "parent_id": "optional text", "status": "status",
        "limit": "number", "cursor": "optional text",
    },
    "count_sessions": {"user_id": "optional text"},
    "append_all": {"messages": "messages"},
    "agent_ids": {"session_ids": "texts"},
    "for_user": {"user_id": "text"},
    "purge": {"before": "moment", "limit": "number"},
    "delete_idle": {"before": "moment", "limit": "number", "status": "status", "message_limit": "number"},
    "erase_user": {"user_id": "text", "limit": "number", "message_limit": "number", "progress": "callback"},
    "export": {
        "user_id": "optional text", "source": "optional text", "since": "optional moment", "until": "optional moment",
    },
    "import_": {"lines": "lines"},
    "writer": {"waiting": "number"},
    "apply_schema": {"distributed": "flag", "shards": "number", "in_place": "flag"},
    **{method: {} for method in ("check_schema", "close", "connection", "on_primary", "transaction")},
}  # fmt: skip
VALID = {
    "messages": [NewMessage(role="u", content="x")],
    "metadata": {},
    "role": "user",
    "content": "x",
    "message_id": "m",
    "sequence": 0,
    "before": NOW,
    "user_id": "none",
}

CASES = [
    (receiver, method, argument, value)
    for receiver, verbs in (("session", SESSION), ("store", STORE))
    for method, arguments in verbs.items()
    for argument, kind in arguments.items()
    for value in WRONG_VALUES[kind]
]


def arguments_of(kind, method):
    return [name for name in inspect.signature(getattr(kind, method)).parameters if name != "self"]


def test_every_argument_is_tested():
    """Except for methods that create a store."""
    for kinds, methods, excluded in (
        ((dal.Session, dal.AsyncSession), SESSION, set()),
        ((dal.SessionStore, dal.AsyncSessionStore), STORE, {"connect", "using"}),
    ):
        for kind in kinds:
            assert public(kind) - excluded == methods.keys()
            assert {method: arguments_of(kind, method) for method in methods} == {
                method: list(methods[method]) for method in methods
            }


@pytest.fixture
def raw(side, server, options, tables):
    connection = side.connect(server.conninfo, **options)
    yield connection
    connection.close()


def test_wrong_types_are_refused_with_nothing_sent(side, raw, figure):
    store = side.store(raw)
    session = store.session("s")
    session.append("user", "x")
    before = session.record()
    refused = []
    with wire.watch(unwrap(raw)) as recorded:
        for receiver, method, argument, value in CASES:
            owner, arguments = (session, SESSION) if receiver == "session" else (store, STORE)
            others = arguments[method].keys() - {argument} - ({"before"} if argument == "after" else set())
            given = {name: VALID[name] for name in others if name in VALID}
            try:
                getattr(owner, method)(**given, **{argument: value})
            except dal.InvalidInput as error:
                refused.append((receiver, method, error.argument.partition("[")[0], value))
    assert refused == CASES
    assert recorded.messages == []
    assert session.record() == before
    figure("wrong types", f"{len(CASES):,} values for the arguments of all methods, each refused with its name")


@pytest.mark.parametrize("source", [None, 7, "postgresql://localhost", object()])
def test_a_store_refuses_other_sources(side, source):
    with pytest.raises(dal.InvalidInput, match="source: must be an? .*Connection"):
        side.store(source)


def test_a_connection_of_the_other_side_is_refused(server):
    with pytest.raises(dal.InvalidInput, match="AsyncConnection"):
        dal.AsyncSessionStore(dal.SessionStore.connect(server.conninfo))


@pytest.mark.parametrize("sanitize", ["", "remove", True, 7, []])
def test_an_unknown_value_of_sanitize_is_refused(side, server, sanitize):
    with pytest.raises(dal.InvalidInput, match="sanitize: "):
        side.connect_store(server.conninfo, sanitize=sanitize)


class Role(StrEnum):
    USER = "user"


class Agent(str, Enum):  # noqa: UP042 - the old form of StrEnum
    PLANNER = "planner"


class Level(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


def test_subclasses_of_str_and_int_are_accepted(store):
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


def test_times_of_any_offset_are_accepted(store):
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
def test_cursors_with_other_forms_of_time_are_accepted(store, moment):
    assert len(store.sessions(cursor=f"{moment}/x")) == 0


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "infinity", "now", "2026-02-30T00:00Z"]
)
def test_cursors_without_a_valid_time_are_refused(side, raw, moment):
    with wire.watch(unwrap(raw)) as recorded, pytest.raises(dal.InvalidInput, match="cursor: "):
        side.store(raw).sessions(cursor=f"{moment}/x")
    assert recorded.messages == []
