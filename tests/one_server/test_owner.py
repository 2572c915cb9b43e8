"""A store confined to a user: every method, on other users' sessions."""

from datetime import UTC, datetime, timedelta

import pytest
from sides import unwrap
from test_round_trips import public

import dal
from dal import NewMessage

TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def mine(store):
    return store.for_user("u1")


@pytest.fixture
def all_rows(connection):
    """Read all rows, with their row versions."""

    def read():
        return [
            connection.execute(f"SELECT t.*, t.ctid FROM {table} AS t ORDER BY ctid").fetchall()
            for table in ("sessions", "messages", "removed_messages", "changes")
        ]

    return read


@pytest.fixture(params=["u2", None], ids=["another's", "nobody's"])
def theirs(request, store):
    """A session of another user, with messages, an agent and a removal."""
    session = store.session("theirs", user_id=request.param, source="telegram", parent_id="before")
    session.append("user", "secret", message_id="m1")
    session.append("assistant", "secret too", agent_id="planner", message_id="m2")
    session.remove_from(1)
    return session


HIDDEN = {
    "open": (lambda session: session.open(), dal.Opened(None, (), ())),
    "latest": (lambda session: session.latest(), ()),
    "stream": (lambda session: tuple(session.stream()), ()),
    "messages forwards": (lambda session: session.messages(), ()),
    "messages backwards": (lambda session: session.messages(before=9), ()),
    "message": (lambda session: session.message("m1"), None),
    "agent_ids": (lambda session: session.agent_ids(), ()),
    "removed": (lambda session: session.removed(), ()),
    "changes": (lambda session: session.changes(), ()),
    "delete": (lambda session: session.delete(), False),
    "reset": (lambda session: session.reset().parent_id, None),
}
REFUSED = {
    "append": lambda session: session.append("user", "x"),
    "append of the same": lambda session: session.append("user", "secret", message_id="m1"),
    "append of another": lambda session: session.append("user", "guess", message_id="m1"),
    "append_all": lambda session: session.append_all([NewMessage(role="user", content="x")] * 1),
    "append_all of the same": lambda session: session.append_all(
        [NewMessage(role="user", content="secret", message_id="m1")]
    ),
    "append_all of another": lambda session: session.append_all(
        [NewMessage(role="user", content="guess", message_id="m1"), NewMessage(role="user", content="x")]
    ),
    "remove_from": lambda session: session.remove_from(0),
    "fork": lambda session: session.fork(),
    "remove_last": lambda session: session.remove_last(),
    "replace_from": lambda session: session.replace_from(0, [NewMessage(role="user", content="x")]),
    "create": lambda session: session.create(),
    "record": lambda session: session.record(),
    "pause": lambda session: session.pause(),
    "resume": lambda session: session.resume(),
    "archive": lambda session: session.archive(),
    "trash": lambda session: session.trash(),
    "restore": lambda session: session.restore(),
    "update_metadata": lambda session: session.update_metadata({"title": "mine"}),
    "annotate": lambda session: session.annotate("m1", {"rating": 5}),
    "annotate of none": lambda session: session.annotate("none", {"rating": 5}),
    "redact": lambda session: session.redact("m1"),
    "redact of a removed message": lambda session: session.redact("m2"),
    "append with conditions": lambda session: session.append("user", "x", if_next=0, session_metadata={"title": "x"}),
}
APPEND = '{"message": {"session_id": "theirs", "role": "user", "content": "x"}}'
STORE = {
    # method: its result, or the class of its error, for another user's session
    "session": (lambda mine: mine.session("theirs").latest(), ()),
    "append_all": (lambda mine: mine.append_all([(unwrap(mine.session("theirs")), NEW)]), dal.PartlyRefused),
    "sessions": (lambda mine: mine.sessions().sessions, ()),
    "sessions of a source": (lambda mine: mine.sessions(source="telegram").sessions, ()),
    "sessions of a parent": (lambda mine: mine.sessions(parent_id="before").sessions, ()),
    "count_sessions": (
        lambda mine: mine.count_sessions(),
        {"active": 0, "paused": 0, "archived": 0, "trashed": 0},
    ),
    "agent_ids": (lambda mine: mine.agent_ids(["theirs"]), {"theirs": ()}),
    "delete_idle": (lambda mine: mine.delete_idle(TOMORROW), ()),
    "purge": (lambda mine: mine.purge(TOMORROW), dal.StatementFailed),
    "erase_user": (lambda mine: mine.erase_user("u1"), dal.Erased()),
    "erase_user of another": (lambda mine: mine.erase_user("u2"), dal.InvalidInput),
    "export": (lambda mine: list(mine.export()), []),
    "import_": (lambda mine: mine.import_([APPEND]).refused, {"theirs": "it belongs to another user"}),
    "for_user": (lambda mine: mine.for_user("u1").session("theirs").delete(), False),
    "for_user of another": (lambda mine: mine.for_user("u2"), dal.InvalidInput),
    "on_primary": (lambda mine: mine.on_primary().session("theirs").latest(), ()),
    "writer": (lambda mine: append_within(mine.writer()), dal.SessionNotFound),
    "transaction": (lambda mine: append_within(mine.transaction()), dal.SessionNotFound),
    "connection": (lambda mine: append_within(mine.connection()), dal.StatementFailed),
}
NEW = NewMessage(role="user", content="x")
TESTED_BELOW = {"using": "test_transactions_and_connections_stay_confined"}
NOT_CONFINED = {
    "connect": "it creates a store for all users",
    "close": "it sends nothing",
    "apply_schema": "it creates tables",
    "check_schema": "it reads the version",
}


def append_within(manager):
    with manager as store:
        store.session("theirs").append("user", "x")


class Recorder:
    """Record which methods of an object are called."""

    def __init__(self, inner):
        self._inner, self.called = inner, set()

    def __getattr__(self, name):
        self.called.add(name)
        return getattr(self._inner, name)


def methods_of(*tables):
    return {method.split()[0] for table in tables for method in table}


def test_every_public_method_is_tested():
    for kind in (dal.Session, dal.AsyncSession):
        assert public(kind) == methods_of(HIDDEN, REFUSED)
    for kind in (dal.SessionStore, dal.AsyncSessionStore):
        assert public(kind) == methods_of(STORE, TESTED_BELOW, NOT_CONFINED)
    assert set(TESTED_BELOW.values()) <= globals().keys()


@pytest.mark.parametrize("method", STORE)
def test_methods_of_a_store_hide_other_users_sessions(mine, theirs, all_rows, method):
    theirs.archive()
    before = all_rows()
    operation, expected = STORE[method]
    recorder = Recorder(mine)
    try:
        outcome = operation(recorder)
    except dal.DalError as error:
        outcome = type(error)
    assert outcome == expected
    assert all_rows() == before
    assert method.split()[0] in recorder.called


@pytest.mark.parametrize("method", HIDDEN)
@pytest.mark.parametrize("archived", [False, True], ids=["live", "archived"])
def test_another_users_session_is_not_found(mine, theirs, all_rows, method, archived):
    if archived:
        theirs.archive()
    before = all_rows()
    operation, nothing = HIDDEN[method]
    recorder = Recorder(mine.session("theirs"))
    assert operation(recorder) == nothing
    assert all_rows() == before
    assert method.split()[0] in recorder.called


@pytest.mark.parametrize("method", REFUSED)
@pytest.mark.parametrize("archived", [False, True], ids=["live", "archived"])
def test_another_users_session_cannot_be_changed(mine, theirs, all_rows, method, archived):
    if archived:
        theirs.archive()
    before = all_rows()
    with pytest.raises(dal.SessionNotFound, match="is not stored, or is another user's"):
        REFUSED[method](recorder := Recorder(mine.session("theirs")))
    assert all_rows() == before
    assert method.split()[0] in recorder.called


def test_a_reset_does_not_continue_another_users_session(mine, theirs, all_rows):
    before = all_rows()
    new = mine.session("theirs").reset()
    assert (new.parent_id, new.source, new.user_id) == (None, None, "u1")
    assert all_rows() == before


def test_lists_exports_and_deletions_are_limited_to_the_user(mine, theirs, store, all_rows):
    mine.session("mine").append("user", "x")
    for given in ({}, {"source": "telegram"}, {"status": "active"}, {"user_id": "u1"}, {"parent_id": "before"}):
        assert {record.session_id for record in mine.sessions(**given)} <= {"mine"}
    assert [record.session_id for record in mine.sessions()] == ["mine"]
    theirs.archive()
    assert mine.agent_ids(["theirs", "mine"]) == {"theirs": (), "mine": ()}
    assert store.session("theirs").record().agent_ids is None, "no list was cached"
    assert b"theirs" not in b"".join(mine.export())
    assert mine.import_(list(store.export(user_id="u1"))).already_there == 1
    assert mine.delete_idle(TOMORROW) == ("mine",)
    assert store.session("theirs").record().message_count == 1


def test_another_users_removal_is_not_found(mine, theirs, connection, form):
    remove_from = form(dal.queries.messages.remove_from)
    given = {"session_id": "theirs", "sequence": 0, "if_next": None}
    (removal,) = connection.execute("SELECT change_id FROM changes").fetchone()
    assert remove_from(connection, change_id=removal, keep=True, owner="u1", **given) is None
    assert remove_from(connection, change_id=removal, keep=True, **given).messages == 1


def test_another_user_id_is_refused(mine):
    for operation in (
        lambda: mine.session("s", user_id="u2"),
        lambda: mine.sessions(user_id="u2"),
        lambda: mine.count_sessions(user_id="u2"),
        lambda: mine.for_user("u2"),
        lambda: mine.erase_user("u2"),
    ):
        with pytest.raises(dal.InvalidInput, match="user_id: is 'u2', and this store is confined to user 'u1'"):
            operation()
    assert mine.for_user("u1").session().user_id == "u1"


def test_the_users_own_sessions_work(mine, store):
    session = mine.session(source="web")
    assert session.user_id == "u1"
    assert session.append("user", "a", message_id="m").sequence == 0
    assert session.append("user", "a", message_id="m").sequence == 0, "a repeated append"
    with pytest.raises(dal.MessageConflict):
        session.append("user", "b", message_id="m")
    assert [m.sequence for m in session.append_all([NewMessage(role="a", content=c, agent_id=c) for c in "bc"])] == [
        1,
        2,
    ]
    assert [m.content for m in session.latest()] == [m.content for m in session.messages()] == ["a", "b", "c"]
    assert [m.content for m in session.messages(before=2)] == ["a", "b"]
    assert session.message("m").content == "a"
    assert session.agent_ids() == ("b", "c")
    assert session.pause().status == "paused"
    assert session.resume().status == "active"
    assert session.update_metadata({"title": "x"}).metadata == {"title": "x"}
    assert session.annotate("m", {"rating": 5}).metadata == {"rating": 5}
    assert session.redact("m").content == ""
    assert session.trash().status == "trashed"
    assert session.restore().status == "active"
    assert session.remove_from(2) == 1
    fork = session.fork()
    assert (fork.user_id, fork.source, fork.append("user", "d").sequence) == ("u1", "web", 3)
    assert [record.session_id for record in mine.sessions(parent_id=session.id)] == [fork.id]
    assert mine.count_sessions()["active"] == 2
    assert fork.delete()
    assert [m.content for m in session.replace_from(1, [NewMessage(role="a", content="d", agent_id="b")])] == ["d"]
    assert [m.content for m in session.removed()] == ["b", "c"]
    assert [m.content for m in session.remove_last()] == ["d"]
    assert [change.kind for change in session.changes()][-3:] == ["remove", "replace", "remove"]
    assert session.append("a", "b", agent_id="b").sequence == 4
    new = session.reset()
    assert (new.parent_id, new.user_id, new.source) == (session.id, "u1", "web")
    with pytest.raises(dal.SessionArchived):
        session.append("user", "too late")
    with pytest.raises(dal.SessionArchived):
        session.append_all([NewMessage(role="user", content="too late")])
    assert mine.agent_ids([session.id]) == {session.id: ("b",)}
    assert store.session(session.id).record().agent_ids == ("b",)
    assert [record.session_id for record in mine.sessions()] == [session.id]
    assert session.delete()


def test_transactions_and_connections_stay_confined(mine, theirs, side, server, options):
    with mine.transaction() as tx:
        assert tx.session("theirs").latest() == ()
        tx.session("mine").append("user", "x")
    raw = side.connect(server.conninfo, **options)
    assert mine.using(raw).session("theirs").latest() == ()
    assert mine.using(raw).session("mine").record().user_id == "u1"
    raw.close()


def test_closing_a_confined_store_leaves_the_store_open(mine, store):
    with mine:
        mine.session("s").append("user", "x")
    assert store.session("s").record().user_id == "u1"


def test_every_query_is_confined():
    """A new query file must take an owner or a user_id, or be listed here."""
    everyones = {name for name in dal.queries if not {"owner", "user_id", "confined"} & dal.queries[name].parameters}
    assert everyones == {
        "messages.delete_range",  # In the transaction of delete_idle_of_user or erase_user, which undo it otherwise.
        "schema.broken_rows",
        "schema.check",
        "schema.hide_temporary",
        "schema.version",
        "sessions.export",  # A confined store sends export_of_user,
        "sessions.list",  # list_of_user,
        "sessions.list_of_source",  # list_of_user_and_source,
        "sessions.delete_idle",  # and delete_idle_of_user. It sends no
        "sessions.purge",
    }
