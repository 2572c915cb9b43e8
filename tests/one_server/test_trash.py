"""The status of a session: the trash, and what each change of the status counts, records and refuses."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from citus_cluster import count_lock_waits

import dal
from dal import NewMessage

HELLO = NewMessage(role="user", content="hello", agent_id="a", message_id="hello")
STATUSES = ("active", "paused", "archived")
STEPS = ("pause", "resume", "archive", "trash", "restore")
BEFORE = {"resume": ["pause"], "restore": ["trash"]}
"""The change that a step undoes."""


@pytest.fixture
def stored_as(store, connection):
    """Store a session with a status, which was active an hour ago."""

    def stored_as(name, status="active", **opening):
        session = store.session(name, **opening)
        session.append_all([HELLO, NewMessage(role="user", content="again")])
        if status == "paused":
            session.pause()
        if status == "archived":
            session.archive()
            session.agent_ids()
        connection.execute(
            "UPDATE sessions SET updated_at = %(then)s, listed_at = %(then)s WHERE session_id = %(id)s",
            {"then": datetime.now(UTC) - timedelta(hours=1), "id": name},
        )
        return session

    return stored_as


@pytest.fixture
def place_of(connection):
    """Read the place of a session in lists."""
    return lambda name: connection.execute("SELECT listed_at FROM sessions WHERE session_id = %s", [name]).fetchone()[0]


@pytest.fixture
def changes_of(connection):
    """Read the recorded changes of a session."""
    return lambda name: connection.execute(
        "SELECT revision, kind, first_sequence, last_sequence, messages FROM changes WHERE session_id = %s"
        " ORDER BY revision",
        [name],
    ).fetchall()


def ids(page):
    return [record.session_id for record in page]


@pytest.mark.parametrize("status", STATUSES)
def test_a_trashed_session_is_in_no_list_and_comes_back_as_it_was(store, stored_as, place_of, status):
    session = stored_as("s", status, user_id="u1", source="web")
    stored_as("newer", user_id="u1", source="web")
    lists = [{}, {"user_id": "u1"}, {"source": "web"}, {"user_id": "u1", "source": "web"}]
    before, place_before = session.record(), place_of("s")
    trashed = session.trash()
    assert trashed == replace(before, status="trashed", revision=before.revision + 1)
    for wanted in lists:
        assert ids(store.sessions(**wanted)) == ["newer"]
        assert ids(store.sessions(**wanted, status="trashed")) == ["s"]
    assert trashed == session.record() == session.open().record
    assert place_of("s") > datetime.now(UTC) - timedelta(minutes=1), "it is listed at the time when it was trashed"
    restored = session.restore()
    assert restored == session.record() == replace(before, revision=before.revision + 2)
    assert place_of("s") == place_before
    for wanted in lists:
        assert ids(store.sessions(**wanted)) == ["newer", "s"]


def test_a_session_that_a_wrong_clock_put_ahead_is_restored_to_the_present(store, stored_as, place_of, connection):
    session = stored_as("s")
    connection.execute("UPDATE sessions SET updated_at = '2999-01-01', listed_at = '2999-01-01'")
    session.trash()
    assert session.restore().updated_at.year == 2999
    assert place_of("s") < datetime.now(UTC) + timedelta(minutes=1)


@pytest.mark.parametrize("status", STATUSES)
def test_the_messages_of_a_trashed_session_can_still_be_read(stored_as, status):
    session = stored_as("s", status)
    messages = session.messages()
    session.trash()
    assert session.messages() == session.latest() == session.open().messages == tuple(session.stream()) == messages
    assert session.message("hello").content == "hello"
    assert session.agent_ids() == ("a",)


REFUSED = {
    "append to": lambda session: session.append("user", "late"),
    "append to session 's': it is": lambda session: session.append_all([NewMessage(role="user", content="late")] * 2),
    "remove from": lambda session: session.remove_from(0),
    "pause": lambda session: session.pause(),
    "resume": lambda session: session.resume(),
    "archive": lambda session: session.archive(),
    "archive session 's': it is": lambda session: session.reset(),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("refused", REFUSED)
def test_a_trashed_session_refuses_changes(stored_as, connection, status, refused):
    session = stored_as("s", status)
    session.trash()
    before = connection.execute("SELECT * FROM sessions").fetchall()
    with pytest.raises(dal.SessionTrashed, match=rf"cannot {refused}.*in the trash; restore\(\) brings it back"):
        REFUSED[refused](session)
    assert connection.execute("SELECT * FROM sessions").fetchall() == before
    assert len(session.messages()) == 2


def test_a_trashed_session_refuses_appends_of_a_writer_and_of_an_import(store, stored_as, side):
    stored_as("s").trash()
    stored_as("other")
    with store.writer() as writer:
        with pytest.raises(dal.SessionTrashed):
            writer.session("s").append("user", "late")
        assert writer.session("other").append("user", "x").sequence == 2
    line = '{"message": {"session_id": "s", "role": "user", "content": "late"}}'
    assert "in the trash" in store.import_([line]).refused["s"]


@pytest.mark.parametrize("status", STATUSES)
def test_repeating_a_change_changes_nothing(stored_as, changes_of, connection, status):
    session = stored_as("s", status)
    first = session.trash()
    rows = connection.execute("SELECT ctid, * FROM sessions").fetchall()
    assert session.trash() == first
    assert connection.execute("SELECT ctid, * FROM sessions").fetchall() == rows
    restored = session.restore()
    rows = connection.execute("SELECT ctid, * FROM sessions").fetchall()
    assert session.restore() == restored
    assert connection.execute("SELECT ctid, * FROM sessions").fetchall() == rows
    assert [kind for _, kind, *_ in changes_of("s")][-2:] == ["trash", "restore"]


def test_each_change_of_the_status_is_counted_and_recorded(stored_as, changes_of):
    session = stored_as("s")
    steps = ("pause", "pause", "resume", "resume", "trash", "restore", "pause", "archive", "archive", "trash")
    revisions = [getattr(session, step)().revision for step in steps]
    assert revisions == [1, 1, 2, 2, 3, 4, 5, 6, 6, 7]
    kinds = ["pause", "resume", "trash", "restore", "pause", "archive", "trash"]
    assert changes_of("s") == [(n, kind, None, None, 0) for n, kind in enumerate(kinds, start=1)]


@pytest.mark.parametrize("step", STEPS)
def test_a_change_deletes_the_records_of_old_ones(stored_as, changes_of, connection, step):
    session = stored_as("s")
    for before in ("pause", "resume", *BEFORE.get(step, ())):
        getattr(session, before)()
    recorded = changes_of("s")
    connection.execute(
        "UPDATE changes SET changed_at = now() - CASE WHEN revision = 1 THEN 61 ELSE 59 END * interval '1 minute'"
    )
    getattr(session, step)()
    assert changes_of("s")[:-1] == recorded[1:]
    connection.execute("UPDATE changes SET changed_at = now() - interval '61 minutes'")
    recorded = changes_of("s")
    getattr(session, step)()
    assert changes_of("s") == recorded, "a change of nothing deletes nothing"


@pytest.mark.parametrize("step", STEPS)
def test_a_repeated_statement_changes_nothing_more(form, stored_as, step, connection):
    session = stored_as("s", "paused" if step == "resume" else "active")
    if step == "restore":
        session.trash()
    given = {"session_id": "s", "change_id": "c"} | ({"if_next": None} if step == "archive" else {})
    statement = form(getattr(dal.queries.sessions, step))
    first = statement(connection, **given)
    assert first.status == {"pause": "paused", "archive": "archived", "trash": "trashed"}.get(step, "active")
    assert statement(connection, **given) == first
    if step != "archive":  # Someone changes it back before the repeated statement arrives.
        back = {"pause": "resume", "resume": "pause", "trash": "restore", "restore": "trash"}[step]
        changed_back = getattr(session, back)()
        assert statement(connection, **given) == changed_back


def test_archive_with_the_next_number(stored_as):
    session = stored_as("s")
    for wrong in (0, 1, 3):
        with pytest.raises(
            dal.Overtaken, match=f"cannot archive session 's': its next number was not {wrong}, and is 2 now"
        ) as e:
            session.archive(if_next=wrong)
        assert e.value.next_sequence == 2
        assert session.record().status == "active"
    archived = session.archive(if_next=2)
    assert archived.status == "archived"
    assert session.archive(if_next=2) == archived
    with pytest.raises(dal.Overtaken):
        session.archive(if_next=1)


def test_a_trashed_session_can_be_deleted(store, stored_as):
    session = stored_as("s", "archived")
    session.trash()
    assert session.delete() is True
    assert ids(store.sessions(status="trashed")) == []
    for change in (session.trash, session.restore):
        with pytest.raises(dal.SessionNotFound):
            change()


def test_a_session_that_is_not_stored_cannot_be_trashed_or_restored(store):
    for session in (store.session(), store.session("nobody")):
        for change in (session.trash, session.restore):
            with pytest.raises(dal.SessionNotFound, match="is stored with its first message"):
                change()


@pytest.mark.parametrize(
    ("stale", "meanwhile", "step"),
    [
        ("paused", "resume", "pause"),
        ("active", "pause", "resume"),
        ("trashed", "restore", "trash"),
        ("active", "trash", "restore"),
        ("trashed", "restore", "pause"),
        ("trashed", "restore", "archive"),
    ],
)
def test_a_change_that_waited_uses_the_newest_status(stored_as, connect, connection, stale, meanwhile, step):  # noqa: PLR0917
    """When the statement begins, nothing is to be changed; when it has the lock, something is."""
    session = stored_as("s", "paused" if stale == "paused" else "active")
    if stale == "trashed":
        session.trash()
    revision = session.record().revision
    other = connect(autocommit=False)
    getattr(dal.SessionStore(other).session("s"), meanwhile)()
    assert committed_while_waiting(lambda: getattr(session, step)(), other, connection) is None
    assert session.record().revision == revision + 2


def test_a_restore_that_waited_finds_a_session_that_was_archived_meanwhile(stored_as, connect, connection):
    session, other = stored_as("s"), connect(autocommit=False)
    theirs = dal.SessionStore(other).session("s")
    theirs.archive()
    theirs.trash()
    assert committed_while_waiting(session.restore, other, connection) is None
    assert session.record().status == "archived"


@pytest.mark.parametrize(
    ("step", "refusal"), [("pause", dal.SessionArchived), ("archive", dal.Overtaken), ("resume", dal.SessionTrashed)]
)
def test_a_change_that_waited_is_refused_by_the_newest_row(stored_as, connect, connection, step, refusal):
    session = stored_as("s")
    other = connect(autocommit=False)
    theirs = dal.SessionStore(other).session("s")
    meanwhile = {
        "pause": theirs.archive,
        "archive": lambda: theirs.append("user", "first"),
        "resume": theirs.trash,
    }
    meanwhile[step]()
    wanted = {"if_next": 2} if step == "archive" else {}
    assert type(committed_while_waiting(lambda: getattr(session, step)(**wanted), other, connection)) is refusal


def committed_while_waiting(operation, other, connection):
    """Commit the other transaction once the operation waits for it; return the operation's error."""
    errors = [None]

    def run():
        try:
            operation()
        except dal.DalError as error:
            errors[0] = error

    thread = threading.Thread(target=run)
    thread.start()
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while not count_lock_waits(connection) and datetime.now(UTC) < deadline:
        pass
    other.commit()
    thread.join(20)
    assert not thread.is_alive()
    return errors[0]


def test_the_trash_is_emptied_by_the_time_when_sessions_were_trashed(store, stored_as, connection):
    for name in ("old", "new", "restored", "idle"):
        stored_as(name, "archived" if name == "old" else "active")
    for name in ("old", "new", "restored"):
        store.session(name).trash()
    connection.execute("UPDATE sessions SET listed_at = now() - interval '30 days' WHERE session_id = 'old'")
    store.session("restored").restore()
    week, minute = (datetime.now(UTC) - ago for ago in (timedelta(days=7), timedelta(minutes=1)))
    assert store.delete_idle(week, status="trashed") == ("old",)
    assert store.delete_idle(minute, status="trashed") == (), "they were active an hour ago, but trashed just now"
    assert set(store.delete_idle(minute)) == {"idle", "restored"}, "trashed sessions are kept by default"
    assert store.delete_idle(minute + timedelta(minutes=2), status="trashed") == ("new",)


def test_the_users_own_trash_is_emptied(store, stored_as):
    for name, user in (("mine", "u1"), ("theirs", "u2")):
        stored_as(name, user_id=user).trash()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert store.for_user("u1").delete_idle(tomorrow) == ()
    assert store.for_user("u1").delete_idle(tomorrow, status="trashed") == ("mine",)
    assert ids(store.sessions(status="trashed")) == ["theirs"]
