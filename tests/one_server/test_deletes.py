"""Deleted sessions stay deleted; sessions that must exist; creating a session without a message; purging."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sides import unwrap

import dal
from dal import NewMessage

SOON = datetime.now(UTC) + timedelta(days=1)
NEW = NewMessage(role="user", content="late")


def line(session_id="s", **fields):
    return json.dumps({"message": {"session_id": session_id, "role": "user", "content": "x", **fields}})


@pytest.fixture
def deleted(store):
    """A deleted session that had everything a session can have."""
    session = store.session("s", source="web", user_id="u1", parent_id="p", metadata={"title": "secret"})
    session.append_all([NewMessage(role="user", content="secret", message_id=f"m{n}", agent_id="a") for n in range(4)])
    session.remove_from(3)
    assert session.delete() is True
    return session


def calling(session, method, *arguments, **options):
    """Return a call for side.call_concurrently."""
    return lambda: getattr(unwrap(session), method)(*arguments, **options)


def rows(connection, table):
    return connection.execute(f"SELECT to_jsonb(t) FROM {table} AS t").fetchall()


# Deletes


def test_a_tombstone_has_only_the_id_the_counters_and_the_times(deleted, connection):
    ((tombstone,),) = rows(connection, "sessions")
    times = {name: tombstone.pop(name) for name in ("created_at", "updated_at", "listed_at")}
    assert times["created_at"] <= times["updated_at"] == times["listed_at"]
    assert {name: value for name, value in tombstone.items() if value is not None} == {
        "session_id": "s", "status": "deleted", "next_sequence": 4, "message_count": 0, "revision": 2, "metadata": {},
    }  # fmt: skip
    for table in ("messages", "removed_messages", "changes"):
        assert rows(connection, table) == []


def fork_of_another(store):
    other = store.session("other")
    if not other.messages():
        other.append("user", "x")
    return other


WRITES = {
    "append": lambda session, _: session.append("user", "late"),
    "append_all": lambda session, _: session.append_all([NEW, NEW]),
    "append with if_next": lambda session, _: session.append("user", "late", if_next=4),
    "append with session_metadata": lambda session, _: session.append("user", "late", session_metadata={"a": 1}),
    "append to an existing one": lambda _, store: store.session("s", existing=True).append("user", "late"),
    "remove_from": lambda session, _: session.remove_from(0),
    "record": lambda session, _: session.record(),
    "pause": lambda session, _: session.pause(),
    "resume": lambda session, _: session.resume(),
    "archive": lambda session, _: session.archive(),
    "update_metadata": lambda session, _: session.update_metadata({"title": "again"}),
    "create": lambda session, _: session.create(),
    "reset": lambda session, _: session.reset(),
    "fork": lambda session, _: session.fork(),
    "fork with its id": lambda _, store: fork_of_another(store).fork(session_id="s"),
    "trash": lambda session, _: session.trash(),
    "restore": lambda session, _: session.restore(),
    "remove_last": lambda session, _: session.remove_last(),
    "replace_from": lambda session, _: session.replace_from(0, [NEW]),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_deleted_session_refuses_everything(store, deleted, connection, name):
    before = rows(connection, "sessions")
    with pytest.raises(dal.SessionDeleted, match="session 's' was deleted; "):
        WRITES[name](deleted, store)
    assert not deleted.persisted
    assert before[0] in rows(connection, "sessions")
    assert connection.execute("SELECT count(*) FROM messages WHERE session_id = 's'").fetchone() == (0,)


def test_appends_to_several_sessions_are_refused_for_the_deleted_one_only(store, deleted):
    pairs = [(unwrap(store.session(name)), NEW) for name in ("s", "other")]
    with pytest.raises(dal.PartlyRefused) as refused:
        store.append_all(pairs)
    first, second = refused.value.outcomes
    assert isinstance(first, dal.SessionDeleted)
    assert second.sequence == 0


def test_a_writer_refuses_appends_to_a_deleted_session_only(side, server, schema, tables):
    with side.connect_store(server.conninfo, schema=schema) as store, store.writer() as writer:
        store.session("s").append("user", "x")
        store.session("s").delete()
        names = [f"s{n}" if n % 2 else "s" for n in range(20)]
        calls = [calling(writer.session(name), "append", "user", "x") for name in names]
        outcomes = side.call_concurrently(calls)
        assert [isinstance(one, dal.SessionDeleted) for one in outcomes] == [name == "s" for name in names]


READS = {
    "removed": (lambda session, _: session.removed(), ()),
    "changes": (lambda session, _: session.changes(), ()),
    "children": (lambda _, store: store.sessions(parent_id="p").sessions, ()),
    "trashed sessions": (lambda _, store: store.sessions(status="trashed").sessions, ()),
    "counts": (lambda _, store: {*store.count_sessions(user_id="u1").values()}, {0}),
    "open": (lambda session, _: session.open(), dal.Opened(None, (), ())),
    "latest": (lambda session, _: session.latest(), ()),
    "messages": (lambda session, _: session.messages(), ()),
    "messages before": (lambda session, _: session.messages(before=9), ()),
    "message": (lambda session, _: session.message("m0"), None),
    "agent_ids": (lambda session, _: session.agent_ids(), ()),
    "stream": (lambda session, _: list(session.stream()), []),
    "sessions": (lambda _, store: store.sessions().sessions, ()),
    "sessions of the user": (lambda _, store: store.sessions(user_id="u1").sessions, ()),
    "export": (lambda _, store: list(store.export()), []),
    "export of the user": (lambda _, store: list(store.export(user_id="u1")), []),
    "delete_idle": (lambda _, store: store.delete_idle(SOON), ()),
}


@pytest.mark.parametrize("name", READS)
def test_nothing_of_a_deleted_session_is_returned(store, deleted, name):
    read, nothing = READS[name]
    assert read(deleted, store) == nothing


def test_a_read_only_store_returns_nothing_of_a_deleted_session(side, server, schema, store, deleted):
    with side.connect_store(server.conninfo, schema=schema, read_only=True) as reader:
        assert reader.session("s").agent_ids() == ()
        with pytest.raises(dal.SessionDeleted):
            reader.session("s").record()


def test_a_repeated_delete_has_the_same_outcome(store, deleted):
    assert deleted.delete() is True
    assert store.session("s").delete() is True
    assert store.session("never stored").delete() is False
    assert store.for_user("u1").session("s").delete() is False, "a confined store cannot know whose it was"


def test_a_confined_store_does_not_learn_that_a_session_was_deleted(store, deleted, connection):
    before = rows(connection, "sessions")
    for mine in (store.for_user("u1"), store.for_user("u2")):
        session = mine.session("s")
        calls = (
            session.record, session.create, lambda session=session: session.create(again=True),
            lambda session=session: session.append("user", "x"), lambda session=session: session.append_all([NEW, NEW]),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(dal.SessionNotFound, match="is not stored, or is another user's") as refused:
                call()
            assert type(refused.value) is dal.SessionNotFound
    assert rows(connection, "sessions") == before


def test_an_import_is_refused_by_a_deleted_session(store, deleted, connection):
    before = rows(connection, "sessions")
    lines = [line(message_id="m0"), line("other"), line(message_id="new")]
    for imported in (store.import_(sorted(lines)), store.import_([line()])):
        assert imported.refused == {"s": "it was deleted"}
    assert before[0] in rows(connection, "sessions")
    assert [row["session_id"] for (row,) in rows(connection, "messages")] == ["other"]
    line_of_session = json.dumps({"session": {"session_id": "s", "user_id": "u1"}})
    assert store.import_([line_of_session]).refused == {"s": "it was deleted"}
    assert store.for_user("u1").import_([line()]).refused == {"s": "it belongs to another user"}
    assert before[0] in rows(connection, "sessions")


def test_delete_idle_leaves_tombstones(store, connection):
    for name in ("a", "b"):
        store.session(name, user_id="u1").append("user", "x")
    assert store.delete_idle(SOON, limit=1) == ("a",)
    assert store.for_user("u1").delete_idle(SOON) == ("b",)
    for name in ("a", "b"):
        with pytest.raises(dal.SessionDeleted):
            store.session(name).append("user", "x")
    assert rows(connection, "messages") == []


def test_an_append_that_waits_for_a_delete_meets_the_tombstone(side, store, connect):
    session = store.session("s")
    session.append("user", "x")
    other = connect(autocommit=False)
    assert dal.SessionStore(other).session("s").delete()
    timer = threading.Timer(0.3, other.commit)
    timer.start()
    calls = [
        calling(session, "append", "user", "late"),
        calling(session, "append_all", [NEW, NEW]),
        calling(session, "archive"),
        calling(session, "delete"),
    ]
    outcomes = side.call_concurrently(calls)
    timer.join()
    assert [type(one) for one in outcomes] == [dal.SessionDeleted] * 3 + [bool]
    assert session.latest() == ()


def test_a_delete_takes_the_messages_of_an_append_that_it_waited_for(side, store, connect, connection):
    store.session("s").append("user", "x")
    other = connect(autocommit=False)
    dal.SessionStore(other).session("s").append("user", "in flight")
    timer = threading.Timer(0.3, other.commit)
    timer.start()
    assert side.call_concurrently([calling(store.session("s"), "delete")]) == [True]
    timer.join()
    assert rows(connection, "messages") == []
    assert connection.execute("SELECT next_sequence FROM sessions").fetchone() == (2,)


@pytest.mark.one_server  # On a cluster, the service has to distribute its table too.
def test_foreign_keys_of_the_service_cascade(store, connection):
    connection.execute("CREATE TABLE stars (session_id text REFERENCES sessions (session_id) ON DELETE CASCADE)")
    store.session("s").append("user", "x")
    connection.execute("INSERT INTO stars VALUES ('s')")
    store.session("s").delete()
    assert rows(connection, "stars") == []
    connection.execute("DROP TABLE stars")  # Behind PgBouncer, tests share a schema.


# Sessions that must exist


def test_an_existing_session_is_never_created(side, server, schema, tables, connection):
    with side.connect_store(server.conninfo, schema=schema) as store, store.writer() as writer:
        for name, one in (("s", store), ("s", writer), (None, store)):
            session = one.session(name, existing=True)
            for verb, given in (("append", ("user", "x")), ("append_all", ([NEW, NEW],))):
                with pytest.raises(dal.SessionNotFound, match="a session is stored with its first message") as refused:
                    getattr(session, verb)(*given)
                assert type(refused.value) is dal.SessionNotFound
            with pytest.raises(dal.PartlyRefused, match="1 of 2 messages failed"):
                one.append_all([(unwrap(session), NEW), (unwrap(one.session("lazy")), NEW)])
            assert not session.persisted
        assert {row["session_id"] for (row,) in rows(connection, "sessions")} == {"lazy"}
        store.session("s").append("user", "x")
        for sequence, one in enumerate((store, writer), 1):
            assert one.session("s", existing=True).append("user", "x").sequence == sequence
        store.append_all([(unwrap(store.session("s", existing=True)), NEW), (unwrap(store.session("new")), NEW)])
        store.session("s").delete()
        for one in (store, writer):
            with pytest.raises(dal.SessionDeleted):
                one.session("s", existing=True).append("user", "x")


# Create


def test_a_session_is_created_without_a_message(store, connection):
    session = store.session("s", source="web", user_id="u1", parent_id="p", metadata={"a": 1})
    record = session.create()
    assert session.persisted
    assert record == session.record()
    assert (record.source, record.user_id, record.parent_id, record.metadata) == ("web", "u1", "p", {"a": 1})
    assert (record.status, record.next_sequence, record.message_count, record.revision) == ("active", 0, 0, 0)
    assert record.created_at == record.updated_at
    assert session.create() == session.create(again=True) == record
    assert store.sessions().sessions == (record,)
    assert session.open() == dal.Opened(record, (), ())
    assert session.append("user", "x", if_next=0).sequence == 0
    assert session.create().message_count == 1, "it is still the same session"
    assert store.session().create().session_id != "s"


@pytest.mark.parametrize(
    "other",
    [{"source": "x"}, {"user_id": None}, {"parent_id": "x"}, {"metadata": None}, {"metadata": {"a": 1, "b": 2}}],
)
def test_a_session_with_other_values_exists(store, other):
    values = {"source": "web", "user_id": "u1", "parent_id": None, "metadata": {"a": 1}}
    record = store.session("s", **values).create()
    session = store.session("s", **values | other)
    for again in (False, True):
        with pytest.raises(dal.SessionExists, match="already stored with another source, user, parent or metadata"):
            session.create(again=again)
    assert store.session("s").record() == record


def test_a_deleted_session_is_begun_again_only_on_purpose(store, deleted, connection):
    with pytest.raises(dal.SessionDeleted):
        deleted.create()
    session = store.session("s", user_id="u2", metadata={"b": 2})
    record = session.create(again=True)
    assert (record.user_id, record.metadata, record.status) == ("u2", {"b": 2}, "active")
    assert (record.next_sequence, record.message_count, record.revision) == (4, 0, 3), "numbers are not used again"
    assert session.create(again=True) == session.create() == record
    assert session.messages() == ()
    message = session.append("user", "anew")
    assert message.sequence == 4
    assert message.created_at >= record.created_at
    assert session.messages(after=3) == (message,)
    assert session.delete()
    assert store.session("s").create(again=True).next_sequence == 5
    assert len(rows(connection, "sessions")) == 1


def test_sessions_created_concurrently_are_one(side, store):
    for n in range(10):
        for again in (False, True):
            calls = [calling(store.session(f"s{n}", source="web"), "create", again=again) for _ in range(6)]
            outcomes = side.call_concurrently(calls)
            assert len(set(outcomes)) == 1, outcomes
            assert outcomes[0].next_sequence == (1 if again else 0)
            if not again:
                store.session(f"s{n}").append("user", "x")
                store.session(f"s{n}").delete()


def test_a_confined_store_creates_sessions_of_its_user_only(store, connection):
    mine = store.for_user("u1")
    assert mine.session("mine").create().user_id == "u1"
    assert mine.session("mine").create() == store.session("mine", user_id="u1").create()
    store.session("theirs", user_id="u2").create()
    before = rows(connection, "sessions")
    for again in (False, True):
        with pytest.raises(dal.SessionNotFound, match="is not stored, or is another user's"):
            mine.session("theirs").create(again=again)
    assert rows(connection, "sessions") == before


@pytest.mark.one_server  # On a cluster, no temporary table hides the library's tables from its functions.
def test_a_temporary_table_does_not_take_a_created_session(side, server, options, tables):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    store.check_schema()
    raw.execute("CREATE TEMPORARY TABLE sessions (LIKE sessions INCLUDING ALL)")
    with pytest.raises(dal.SchemaMismatch):
        store.session("s").create()
    raw.execute("DROP TABLE pg_temp.sessions")
    assert store.session("s").create().next_sequence == 0
    raw.close()


# Purge


def age(connection, hours):
    interval = [timedelta(hours=hours)]
    # A cluster accepts only immutable functions of columns here.
    connection.execute(
        "UPDATE sessions SET listed_at = (listed_at AT TIME ZONE 'UTC' - %s) AT TIME ZONE 'UTC' "
        "WHERE status = 'deleted'",
        interval,
    )
    connection.execute(
        "UPDATE removed_messages SET removed_at = (removed_at AT TIME ZONE 'UTC' - %s) AT TIME ZONE 'UTC'", interval
    )


def test_a_purge_removes_old_tombstones_and_old_removed_messages(store, connection):
    kept = store.session("kept")
    kept.append_all([NEW] * 5)
    kept.remove_from(1)
    for n in range(3):
        store.session(f"s{n}").append("user", "x")
        store.session(f"s{n}").delete()
    now = datetime.now(UTC)
    assert store.purge(now - timedelta(hours=2)) == dal.Purged(0, 0)
    age(connection, 3)
    assert store.purge(now - timedelta(hours=4)) == dal.Purged(0, 0)
    steps = [store.purge(now - timedelta(hours=2), limit=2) for _ in range(3)]
    assert steps == [dal.Purged(2, 2), dal.Purged(1, 2), dal.Purged(0, 0)]
    assert [bool(step) for step in steps] == [True, True, False]
    assert [row["session_id"] for (row,) in rows(connection, "sessions")] == ["kept"]
    assert len(kept.messages()) == 1
    assert kept.record().next_sequence == 5
    assert store.session("s0").append("user", "x").sequence == 0, "as if it had never been used"


def test_a_purge_removes_the_oldest_first(store, connection):
    kept = store.session("kept")
    kept.append_all([NEW] * 4)
    for n in range(3):
        age(connection, 2)
        kept.remove_last()
        store.session(f"s{n}").append("user", "x")
        store.session(f"s{n}").delete()
    age(connection, 2)
    left = []
    while store.purge(SOON, limit=1):
        tombstones = connection.execute("SELECT session_id FROM sessions WHERE status = 'deleted' ORDER BY 1")
        left.append((tombstones.fetchall(), [message.sequence for message in kept.removed()]))
    assert left == [([("s1",), ("s2",)], [1, 2]), ([("s2",)], [1]), ([], [])]


def test_a_purge_leaves_old_sessions_of_every_status(store, connection):
    for status in dal.records.STATUSES:
        store.session(status).append("user", "x")
    store.session("paused").pause()
    store.session("archived").archive()
    store.session("trashed").trash()
    connection.execute("UPDATE sessions SET updated_at = '2020-01-01', listed_at = '2020-01-01'")
    assert store.purge(SOON) == dal.Purged(0, 0)
    assert {one.session_id for one in store.sessions(status=dal.records.STATUSES)} == {*dal.records.STATUSES}


def test_a_young_tombstone_is_never_purged(store, deleted, connection):
    assert store.purge(SOON) == dal.Purged(0, 0)
    age(connection, 0.9)
    assert store.purge(SOON) == dal.Purged(0, 0)
    age(connection, 0.2)
    assert store.purge(SOON) == dal.Purged(1, 0)


@pytest.mark.one_server  # On a cluster, it waits for a locked tombstone.
def test_a_purge_skips_what_is_locked(store, connection, connect):
    for name in ("a", "b"):
        store.session(name).append("user", "x")
        store.session(name).delete()
    store.session("kept").append_all([NEW] * 3)
    store.session("kept").remove_from(0)
    age(connection, 3)
    other = connect(autocommit=False)
    other.execute("SELECT FROM sessions WHERE session_id = 'a' FOR KEY SHARE")
    other.execute("SELECT FROM removed_messages WHERE sequence = 1 FOR SHARE")
    started = time.monotonic()
    assert store.purge(datetime.now(UTC)) == dal.Purged(1, 2)
    assert time.monotonic() - started < 2
    other.rollback()
    assert store.purge(datetime.now(UTC)) == dal.Purged(1, 1)


def test_a_confined_store_does_not_purge(store):
    with pytest.raises(dal.StatementFailed, match=r"use purge\(\) of a store for all users"):
        store.for_user("u1").purge(SOON)
