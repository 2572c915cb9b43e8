"""A store that is confined to a user: every verb, across users."""

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
def everything(connection):
    """Read all that is stored, and which version of each row it is."""

    def read():
        return [
            connection.execute(f"SELECT t.*, t.ctid FROM {table} AS t ORDER BY ctid").fetchall()
            for table in ("sessions", "messages", "removals")
        ]

    return read


@pytest.fixture(params=["u2", None], ids=["another's", "nobody's"])
def theirs(request, store):
    """A session that is not u1's, with all that one can have."""
    session = store.session("theirs", user_id=request.param, source="telegram")
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
    "record": lambda session: session.record(),
    "pause": lambda session: session.pause(),
    "resume": lambda session: session.resume(),
    "archive": lambda session: session.archive(),
    "update_metadata": lambda session: session.update_metadata({"title": "mine"}),
}
APPEND = '{"message": {"session_id": "theirs", "role": "user", "content": "x"}}'
STORE = {
    # verb: what it gives, or which error of ours it raises, where a session is another's
    "session": (lambda mine: mine.session("theirs").latest(), ()),
    "append_all": (lambda mine: mine.append_all([(unwrap(mine.session("theirs")), NEW)]), dal.PartlyRefused),
    "sessions": (lambda mine: mine.sessions().sessions, ()),
    "sessions of a source": (lambda mine: mine.sessions(source="telegram").sessions, ()),
    "agent_ids": (lambda mine: mine.agent_ids(["theirs"]), {"theirs": ()}),
    "delete_idle": (lambda mine: mine.delete_idle(TOMORROW), ()),
    "export": (lambda mine: list(mine.export()), []),
    "import_": (lambda mine: mine.import_([APPEND]).refused, {"theirs": "it belongs to another user"}),
    "for_user": (lambda mine: mine.for_user("u1").session("theirs").delete(), False),
    "for_user of another": (lambda mine: mine.for_user("u2"), dal.InvalidInput),
    "writer": (lambda mine: within(mine.writer()), dal.SessionNotFound),
    "transaction": (lambda mine: within(mine.transaction()), dal.SessionNotFound),
    "connection": (lambda mine: within(mine.connection()), dal.StatementFailed),
}
NEW = NewMessage(role="user", content="x")
TRIED_BELOW = {"using": "test_transactions_and_connections_stay_confined"}
NOT_CONFINED = {
    "connect": "it makes a store of everybody's sessions",
    "close": "it sends nothing",
    "apply_schema": "it makes tables",
    "check_schema": "it reads the version",
}


def within(manager):
    with manager as store:
        store.session("theirs").append("user", "x")


class Recorder:
    """An object whose methods are called, and which of them were."""

    def __init__(self, inner):
        self._inner, self.called = inner, set()

    def __getattr__(self, name):
        self.called.add(name)
        return getattr(self._inner, name)


def names(*tables):
    return {verb.split()[0] for table in tables for verb in table}


def test_every_public_method_was_tried():
    for kind in (dal.Session, dal.AsyncSession):
        assert public(kind) == names(HIDDEN, REFUSED)
    for kind in (dal.SessionStore, dal.AsyncSessionStore):
        assert public(kind) == names(STORE, TRIED_BELOW, NOT_CONFINED)
    assert set(TRIED_BELOW.values()) <= globals().keys()


@pytest.mark.parametrize("verb", STORE)
def test_a_store_shows_and_changes_nothing_of_anothers(mine, theirs, everything, verb):
    theirs.archive()
    before = everything()
    operation, expected = STORE[verb]
    tried = Recorder(mine)
    try:
        outcome = operation(tried)
    except dal.DalError as error:
        outcome = type(error)
    assert outcome == expected
    assert everything() == before
    assert verb.split()[0] in tried.called


@pytest.mark.parametrize("verb", HIDDEN)
@pytest.mark.parametrize("archived", [False, True], ids=["live", "archived"])
def test_what_is_anothers_is_not_found(mine, theirs, everything, verb, archived):
    if archived:
        theirs.archive()
    before = everything()
    operation, nothing = HIDDEN[verb]
    tried = Recorder(mine.session("theirs"))
    assert operation(tried) == nothing
    assert everything() == before
    assert verb.split()[0] in tried.called


@pytest.mark.parametrize("verb", REFUSED)
@pytest.mark.parametrize("archived", [False, True], ids=["live", "archived"])
def test_what_is_anothers_cannot_be_changed(mine, theirs, everything, verb, archived):
    if archived:
        theirs.archive()
    before = everything()
    with pytest.raises(dal.SessionNotFound, match="is not stored, or is another user's"):
        REFUSED[verb](tried := Recorder(mine.session("theirs")))
    assert everything() == before
    assert verb.split()[0] in tried.called


def test_a_reset_continues_nothing_of_anothers(mine, theirs, everything):
    before = everything()
    new = mine.session("theirs").reset()
    assert (new.parent_id, new.source, new.user_id) == (None, None, "u1")
    assert everything() == before


def test_the_store_itself_shows_and_deletes_only_the_users(mine, theirs, store, everything):
    mine.session("mine").append("user", "x")
    for given in ({}, {"source": "telegram"}, {"status": "active"}, {"user_id": "u1"}):
        assert {record.session_id for record in mine.sessions(**given)} <= {"mine"}
    assert [record.session_id for record in mine.sessions()] == ["mine"]
    theirs.archive()
    assert mine.agent_ids(["theirs", "mine"]) == {"theirs": (), "mine": ()}
    assert store.session("theirs").record().agent_ids is None, "nothing was cached for it"
    assert b"theirs" not in b"".join(mine.export())
    assert mine.import_(list(store.export(user_id="u1"))).already_there == 1
    assert mine.delete_idle(TOMORROW) == ("mine",)
    assert store.session("theirs").record().message_count == 1


def test_a_removal_that_is_anothers_is_not_told(mine, theirs, connection):
    given = {"session_id": "theirs", "sequence": 0}
    (removal,) = connection.execute("SELECT removal_id FROM removals").fetchone()
    assert dal.queries.messages.remove_from(connection, removal_id=removal, owner="u1", **given) is None
    assert dal.queries.messages.remove_from(connection, removal_id=removal, **given).messages == 1


def test_another_user_cannot_even_be_named(mine):
    for operation in (
        lambda: mine.session("s", user_id="u2"),
        lambda: mine.sessions(user_id="u2"),
        lambda: mine.for_user("u2"),
    ):
        with pytest.raises(dal.InvalidInput, match="user_id: is 'u2', and this store is confined to user 'u1'"):
            operation()
    assert mine.for_user("u1").session().user_id == "u1"


def test_the_users_own_works_as_ever(mine, store):
    session = mine.session(source="web")
    assert session.user_id == "u1"
    assert session.append("user", "a", message_id="m").sequence == 0
    assert session.append("user", "a", message_id="m").sequence == 0, "the same again"
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
    assert session.remove_from(2) == 1
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


def test_closing_it_leaves_the_store_open(mine, store):
    with mine:
        mine.session("s").append("user", "x")
    assert store.session("s").record().user_id == "u1"


def test_every_query_is_confined_or_of_a_user():
    """A query file to come has an owner, or a user_id that the store gives, or shows nothing of anyone."""
    everyones = {name for name in dal.queries if not {"owner", "user_id", "confined"} & dal.queries[name].parameters}
    assert everyones == {
        "schema.check",
        "schema.hide_temporary",
        "schema.version",
        "sessions.export",  # A store that is confined sends export_of_user instead,
        "sessions.list",  # list_of_user,
        "sessions.list_of_source",  # list_of_user_and_source,
        "sessions.delete_idle",  # and delete_idle_of_user.
    }
