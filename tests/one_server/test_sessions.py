"""Sessions: their record, listing, status, metadata, deletion, reset."""

import json
from datetime import UTC, datetime, timedelta

import pytest

import dal


def test_a_session_that_is_not_stored_has_no_record(store):
    for session in (store.session(), store.session("nobody")):
        for verb in (session.record, session.pause, session.resume, session.archive):
            with pytest.raises(dal.SessionNotFound, match="is stored with its first message"):
                verb()
        with pytest.raises(dal.SessionNotFound):
            session.update_metadata({"a": 1})
        assert session.delete() is False


def test_status_changes_until_archived(store):
    session = store.session()
    session.append("user", "x")
    assert session.pause().status == "paused"
    assert session.append("user", "still accepted").sequence == 1
    paused = session.pause()
    assert paused == session.record(), "pausing again changes nothing"
    assert session.resume().status == "active"
    assert session.resume().status == "active"
    archived = session.archive()
    assert archived.status == "archived"
    assert archived.archived_at == archived.updated_at
    assert session.archive() == archived, "archiving again changes nothing"
    for name in ("pause", "resume"):
        with pytest.raises(dal.SessionArchived, match=f"cannot {name} session"):
            getattr(session, name)()
    assert session.record() == archived


def test_a_paused_session_can_be_archived(store):
    session = store.session()
    session.append("user", "x")
    session.pause()
    assert session.archive().status == "archived"


def test_metadata_is_merged(store):
    session = store.session(metadata={"a": 1, "b": {"x": 1}})
    session.append("user", "x")
    assert session.update_metadata({"b": {"y": 2}, "c": None}).metadata == {"a": 1, "b": {"y": 2}, "c": None}
    session.archive()
    assert session.update_metadata({"title": "over"}).metadata["title"] == "over"


def test_opening_arguments_do_not_change_a_stored_session(store):
    store.session("s", user_id="u1", metadata={"a": 1}).append("user", "x")
    store.session("s", user_id="u2", metadata={"b": 2}).append("user", "y")
    record = store.session("s").record()
    assert (record.user_id, record.metadata) == ("u1", {"a": 1})


def test_delete_removes_the_messages(store, connection):
    session = store.session("s")
    session.append("user", "x")
    assert session.delete() is True
    assert not session.persisted
    assert connection.execute("SELECT FROM messages").fetchall() == []
    with pytest.raises(dal.SessionDeleted):
        session.append("user", "anew")


def test_reset_archives_and_continues(store):
    old = store.session(source="telegram", user_id="u1")
    old.append("user", "x")
    new = store.session(old.id).reset(metadata={"fresh": True})
    assert old.record().status == "archived"
    assert (new.parent_id, new.source, new.user_id, new.persisted) == (old.id, "telegram", "u1", False)
    new.append("user", "y")
    record = new.record()
    assert (record.parent_id, record.metadata) == (old.id, {"fresh": True})
    assert new.reset().parent_id == new.id


def test_reset_of_an_unsaved_session_keeps_its_parent(store):
    unsaved = store.session(source="telegram", user_id="u1", parent_id="before")
    new = unsaved.reset()
    assert (new.parent_id, new.source, new.user_id) == ("before", "telegram", "u1")
    assert new.id != unsaved.id
    unknown = store.session("nobody", source="web").reset()
    assert (unknown.parent_id, unknown.source) == (None, "web")


def test_reset_archives_only_what_was_sent_or_found(store):
    """Nothing else can have stored an id that the library made, unless another object with this id did."""
    unsaved = store.session()
    store.session(unsaved.id).append("user", "x")
    assert unsaved.append_all([]) == ()
    assert unsaved.reset().parent_id is None
    assert unsaved.record().status == "active"
    assert unsaved.reset().parent_id == unsaved.id


def test_reset_of_an_archived_session(store):
    session = store.session()
    session.append("user", "x")
    archived = session.archive()
    assert session.reset().parent_id == session.id
    assert session.record() == archived


@pytest.fixture
def listed(store, connection):
    """Twelve sessions, twelve minutes apart, of two users, three sources and three statuses."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(12):
        session = store.session(f"s{n:02}", user_id=f"u{n % 2}", source=f"from{n % 3}")
        session.append("user", "x")
        if n % 4 == 1:
            session.pause()
        if n % 4 == 2:
            session.archive()
        connection.execute(
            "UPDATE sessions SET updated_at = %(at)s, listed_at = %(at)s WHERE session_id = %(id)s",
            {"at": start + n * timedelta(minutes=12), "id": session.id},
        )
    return store


def pages_of(store, limit, **wanted):
    """Yield the ids of each page of a list."""
    cursor = None
    while True:
        page = store.sessions(limit=limit, cursor=cursor, **wanted)
        yield [record.session_id for record in page]
        if (cursor := page.cursor) is None:
            return


@pytest.mark.parametrize("user_id", [None, "u0", "u1", "nobody"])
@pytest.mark.parametrize("source", [None, "from1"])
@pytest.mark.parametrize("status", [None, "active", "paused", "archived"])
def test_listing_by_recency_with_every_filter(listed, user_id, source, status):
    def wanted(n):
        state = {1: "paused", 2: "archived"}.get(n % 4, "active")
        return user_id in {None, f"u{n % 2}"} and source in {None, f"from{n % 3}"} and status in {None, state}

    expected = [f"s{n:02}" for n in reversed(range(12)) if wanted(n)]
    pages = list(pages_of(listed, 2, user_id=user_id, source=source, status=status))
    assert all(len(page) == 2 for page in pages[:-1])
    assert [one for page in pages for one in page] == expected


@pytest.mark.parametrize("user_id", [None, "u1"])
@pytest.mark.parametrize(
    "status",
    [["paused"], ("archived", "paused", "paused"), {"active", "archived"}, dal.records.STATUSES],
)
def test_listing_of_several_statuses(listed, user_id, status):
    everything = [record for record in listed.sessions(user_id=user_id) if record.status in status]
    pages = list(pages_of(listed, 2, user_id=user_id, status=status))
    assert [one for page in pages for one in page] == [record.session_id for record in everything]


def test_trashed_sessions_are_listed_only_on_request(listed, connection):
    connection.execute(
        "UPDATE sessions SET status = 'trashed', trashed_from = status WHERE session_id IN ('s01', 's02')"
    )
    for wanted in ({}, {"user_id": "u1"}, {"source": "from1"}, {"user_id": "u1", "source": "from1"}):
        assert not {"s01", "s02"} & set(ids(listed.sessions(**wanted)))
        assert "s01" in ids(listed.sessions(**wanted, status="trashed"))
    assert ids(listed.sessions(status=["trashed", "active"], limit=100))[-2:] == ["s01", "s00"]


def test_sessions_are_counted_by_status(listed, connection):
    listed.session("of nobody").append("user", "x")
    assert listed.count_sessions(user_id="u0") == {"active": 3, "paused": 0, "archived": 3, "trashed": 0}
    assert listed.for_user("u1").count_sessions() == {"active": 3, "paused": 3, "archived": 0, "trashed": 0}
    connection.execute("UPDATE sessions SET status = 'trashed', trashed_from = status WHERE session_id = 's01'")
    assert listed.count_sessions(user_id="u1") == {"active": 3, "paused": 2, "archived": 0, "trashed": 1}
    assert sum(listed.count_sessions(user_id="nobody").values()) == 0
    with pytest.raises(dal.InvalidInput, match="user_id: must be given"):
        listed.count_sessions()


def test_thousands_of_sessions_are_counted(store, connection):
    connection.execute(
        "INSERT INTO sessions (session_id, user_id, metadata, next_sequence, message_count, created_at, updated_at) "
        "SELECT n::text, 'u1', '{}', 0, 0, now(), now() FROM generate_series(1, 12345) AS n"
    )
    assert store.count_sessions(user_id="u1")["active"] == 12_345


def test_pages_are_complete_with_equal_times(listed, connection):
    connection.execute("UPDATE sessions SET updated_at = '2026-01-01 00:30+00', listed_at = '2026-01-01 00:30+00'")
    found = [one for page in pages_of(listed, 5) for one in page]
    assert found == [f"s{n:02}" for n in reversed(range(12))]


def test_the_cursor_works_in_any_time_zone(listed, connection):
    page = listed.sessions(limit=5)
    other = dal.SessionStore(connection)
    connection.execute("SET timezone = 'Asia/Kolkata'")
    assert [r.session_id for r in other.sessions(limit=1, cursor=page.cursor)] == ["s06"]
    assert other.sessions(limit=5).cursor != page.cursor
    assert [r.session_id for r in listed.sessions(limit=1, cursor=other.sessions(limit=5).cursor)] == ["s06"]


def test_activity_moves_a_session_to_the_front(listed):
    listed.session("s00").append("user", "again")
    assert listed.sessions(limit=1).sessions[0].session_id == "s00"


def test_delete_idle_deletes_the_longest_idle_first(listed, connection):
    before = datetime(2026, 1, 1, 1, 12, tzinfo=UTC)  # s00 to s05 are idle since an earlier time
    assert sorted(listed.delete_idle(before, limit=4)) == ["s00", "s01", "s02", "s03"]
    assert sorted(listed.delete_idle(before, limit=4)) == ["s04", "s05"]
    assert listed.delete_idle(before) == ()
    assert len(listed.sessions()) == 6
    left = connection.execute("SELECT DISTINCT session_id FROM messages ORDER BY 1").fetchall()
    assert left == [(f"s{n:02}",) for n in range(6, 12)]


def test_delete_idle_skips_a_session_that_is_being_written(connect):
    mine, other = connect(), connect(autocommit=False)
    store = dal.SessionStore(mine)
    for name in ("quiet", "busy"):
        store.session(name).append("user", "x")
    mine.execute("SET lock_timeout = 100")
    dal.SessionStore(other).session("busy").append("user", "not committed")
    assert store.delete_idle(datetime.now(UTC)) == ("quiet",)
    other.commit()
    assert store.session("busy").record().message_count == 2


def test_a_list_of_all_sessions_is_exact_to_within_a_minute(store):
    for name in ("first", "second"):
        store.session(name, user_id="u1").append("user", "x")
    store.session("first").append("user", "again")
    assert ids(store.sessions()) == ["second", "first"], "a session moves up at most once a minute"
    assert ids(store.sessions(user_id="u1")) == ["first", "second"], "a user's own list is exact"
    store.session("second").pause()
    store.session("first").pause()
    assert ids(store.sessions()) == ["first", "second"], "a change of status moves it up too"


def test_a_session_moves_up_after_a_minute(store, connection):
    for name in ("first", "second"):
        store.session(name).append_all([dal.NewMessage(role="user", content="x")] * 3)
    for change in (
        lambda session: session.append("user", "x"),
        lambda session: session.append_all([dal.NewMessage(role="user", content="x")] * 2),
        lambda session: session.update_metadata({"a": 1}),
        lambda session: session.remove_from(1),
    ):
        connection.execute(
            "UPDATE sessions "
            "SET listed_at = now() - interval '1 min' * CASE WHEN session_id = 'first' THEN 2 ELSE 1 END"
        )
        assert ids(store.sessions()) == ["second", "first"]
        change(store.session("first"))
        assert ids(store.sessions()) == ["first", "second"]


def ids(page):
    return [record.session_id for record in page]


@pytest.mark.parametrize("user_id", [None, "u1"])
def test_lists_recover_when_the_clock_was_ahead(store, connection, user_id):
    for name in ("ahead", "later"):
        store.session(name, user_id="u1").append("user", "x")
    connection.execute(
        "UPDATE sessions SET updated_at = now() + interval '1 year', listed_at = now() + interval '1 year'"
        " WHERE session_id = 'ahead'"
    )
    store.sessions(user_id=user_id)
    store.session("later").pause()
    assert ids(store.sessions(user_id=user_id)) == ["later", "ahead"]
    assert ids(store.sessions(user_id=user_id, limit=1)) == ["later"]


@pytest.mark.parametrize("user_id", [None, "u1"])
def test_delete_idle_recovers_when_the_clock_was_ahead(store, connection, user_id):
    store.session("ahead", user_id="u1").append("user", "x")
    connection.execute("UPDATE sessions SET updated_at = '2999-01-01', listed_at = '2999-01-01'")
    idle = store if user_id is None else store.for_user(user_id)
    assert idle.delete_idle(datetime.now(UTC) + timedelta(minutes=1)) == (), (
        "its time is corrected, so it is idle next time"
    )
    assert idle.delete_idle(datetime.now(UTC) + timedelta(minutes=1)) == ("ahead",)


def test_an_imported_session_of_the_year_9999_is_listed_and_deleted(store):
    far = "9999-12-31T00:00:00Z"
    session = {"session_id": "far", "user_id": "u1", "updated_at": far}
    message = {"session_id": "far", "role": "user", "content": "x", "created_at": far}
    store.import_([json.dumps({"session": session}), json.dumps({"message": message})])
    store.session("now", user_id="u1").append("user", "x")
    assert ids(store.sessions()) == ids(store.sessions(user_id="u1")) == ["now", "far"]
    assert store.session("far").record().updated_at.year == 9999
    assert set(store.delete_idle(datetime.now(UTC) + timedelta(minutes=1))) == {"now", "far"}


@pytest.fixture
def bookmarks(store, connection):
    """A service's own table that refers to messages of two of five sessions."""
    connection.execute(
        "CREATE TABLE bookmarks (session_id text, sequence bigint, note text DEFAULT '', FOREIGN KEY (session_id,"
        " sequence) REFERENCES messages (session_id, sequence) ON DELETE CASCADE)"
    )
    for n in range(5):
        store.session(f"s{n}").append("user", "x")
    connection.execute("INSERT INTO bookmarks VALUES ('s0', 0), ('s3', 0)")
    yield
    connection.execute("DROP TABLE bookmarks")


@pytest.mark.one_server  # Citus has no foreign key from a local table to a distributed one.
@pytest.mark.parametrize(
    "hold",
    [
        "SELECT FROM messages WHERE session_id IN ('s0', 's3') FOR KEY SHARE",
        "INSERT INTO bookmarks VALUES ('s0', 0), ('s3', 0)",
        "UPDATE bookmarks SET note = 'held'",
    ],
)
def test_delete_idle_skips_sessions_locked_through_any_table(store, connect, bookmarks, hold):
    holder = connect(autocommit=False)
    holder.execute("SET LOCAL deadlock_timeout = '100ms'")
    holder.execute(hold)
    before = datetime.now(UTC) + timedelta(minutes=1)
    assert sorted(store.delete_idle(before, limit=2)) in (["s1", "s2"], ["s1"])
    assert sorted(store.delete_idle(before)) in (["s2", "s4"], ["s4"])
    assert store.delete_idle(before) == (), "the two locked sessions are skipped"
    # The transaction that holds the locks can still append to the sessions.
    dal.SessionStore(holder).session("s0").append("user", "y")
    holder.commit()
    assert sorted(ids(store.sessions())) == ["s0", "s3"]
