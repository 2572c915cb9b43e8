"""The erasure of a user: nothing of it is left, and nothing of others is touched."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from citus_cluster import count_lock_waits
from psycopg import sql

import dal
from dal import NewMessage

USER, SECRET = "user-4711", "what the user said"


@pytest.fixture
def whole_life(store, connection):
    """Store sessions of a user in every state, with everything that can be stored of one."""
    for status in ("active", "paused", "archived", "trashed"):
        session = store.session(f"{status} one", source=SECRET, user_id=USER, metadata={SECRET: SECRET})
        session.append_all(
            [
                NewMessage(
                    role="user", content=SECRET, agent_id=SECRET, metadata={SECRET: SECRET}, message_id=f"{SECRET} {n}"
                )
                for n in range(5)
            ]
        )
        session.remove_from(4)
        session.remove_last(1, keep=False)
        session.annotate(f"{SECRET} 0", {SECRET: SECRET})
        session.redact(f"{SECRET} 1", SECRET)
        session.update_metadata({"more": SECRET})
        if status == "paused":
            session.pause()
        if status in {"archived", "trashed"}:
            session.archive()
            session.agent_ids()
        if status == "trashed":
            session.trash()
    store.session("active one").fork(2, session_id="fork", metadata={SECRET: SECRET})
    return store


@pytest.fixture
def places_of(connection):
    """Search every column of every table; return the tables and columns that contain a text."""

    def find(text):
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        ).fetchall()
        assert {"sessions", "messages", "removed_messages", "changes"} <= {table for table, _ in columns}
        query = "SELECT count(*) FROM {} WHERE strpos({}::text, %s) > 0"
        return {
            (table, column)
            for table, column in columns
            if connection.execute(
                sql.SQL(query).format(sql.Identifier(table), sql.Identifier(column)), [text]
            ).fetchone()
            != (0,)
        }

    return find


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_nothing_of_an_erased_user_is_found_in_any_table(whole_life, places_of, connection, limit):
    other = whole_life.session("other", user_id="other", metadata={"a": 1})
    other.append("user", "hello")
    before = other.record(), other.messages()
    text_columns = {
        ("sessions", "user_id"), ("sessions", "source"), ("sessions", "metadata"), ("sessions", "agent_ids"),
        *((table, column) for table in ("messages", "removed_messages")
          for column in ("message_id", "agent_id", "content", "metadata")),
    }  # fmt: skip
    assert places_of(USER) | places_of(SECRET) == text_columns, "the search finds them before the erasure"
    assert whole_life.erase_user(USER, limit) == dal.Erased(5, 14, 4, ())
    assert places_of(USER) | places_of(SECRET) == set()
    assert (other.record(), other.messages()) == before
    tombstones = connection.execute(
        "SELECT status, message_count, user_id, source, parent_id, metadata, agent_ids, fork_point"
        " FROM sessions WHERE session_id <> 'other'"
    ).fetchall()
    assert tombstones == [("deleted", 0, None, None, None, {}, None, None)] * 5
    for table in ("messages", "removed_messages", "changes"):
        rows = connection.execute(f"SELECT count(*) FROM {table} WHERE session_id <> 'other'").fetchone()
        assert rows == (0,), table
    assert whole_life.erase_user(USER) == dal.Erased()


def test_an_erased_session_refuses_appends(whole_life):
    whole_life.erase_user(USER)
    with pytest.raises(dal.SessionDeleted):
        whole_life.session("active one", user_id=USER).append("user", "late")
    assert whole_life.session("active one").messages() == ()


def test_forks_of_others_are_named(store, connection):
    session = store.session("s", user_id=USER)
    session.append_all([NewMessage(role="user", content=SECRET)] * 3)
    for name, parent in (("theirs", "s"), ("mine", "s"), ("of theirs", "theirs"), ("of mine", "mine")):
        store.session(parent).fork(2, session_id=name)
    store.session("only continued", user_id="other", parent_id="s").append("user", "x")
    connection.execute("UPDATE sessions SET user_id = 'other' WHERE session_id IN ('theirs', 'of mine')")
    connection.execute("UPDATE sessions SET user_id = NULL WHERE session_id = 'of theirs'")
    receipt = store.erase_user(USER, 1)
    assert replace(receipt, forks=()) == dal.Erased(2, 5, 0)
    assert sorted(receipt.forks) == ["of mine", "of theirs", "theirs"]
    for name in receipt.forks:
        assert [message.content for message in store.session(name).messages()] == [SECRET] * 2


def test_progress_is_reported_after_each_step(whole_life):
    reports = []
    receipt = whole_life.erase_user(USER, 2, progress=reports.append)
    assert [report.sessions for report in reports] == [2, 4, 5]
    assert reports[-1] == receipt


def test_an_interrupted_erasure_is_resumed(whole_life):
    class Interrupted(Exception):
        pass

    def interrupt(erased):
        raise Interrupted

    with pytest.raises(Interrupted):
        whole_life.erase_user(USER, 2, progress=interrupt)
    assert whole_life.erase_user(USER, 2).sessions == 3


def test_an_erasure_waits_for_writers_and_counts_what_they_did(whole_life, connect, connection):
    """A message that is appended or removed while the statement waits is in the receipt."""
    other = connect(autocommit=False)
    theirs = dal.SessionStore(other).session("active one")
    theirs.append("user", "committed while the erasure waits")
    theirs.remove_from(2)
    receipts = []
    thread = threading.Thread(target=lambda: receipts.append(whole_life.erase_user(USER)))
    thread.start()
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while not count_lock_waits(connection) and datetime.now(UTC) < deadline:
        pass
    other.commit()
    thread.join(20)
    assert receipts == [dal.Erased(5, 13, 6, ())]


def test_a_confined_store_erases_its_own_user_only(whole_life):
    whole_life.session("other", user_id="other").append("user", "hello")
    with pytest.raises(dal.InvalidInput, match="user_id: is 'user-4711', and this store is confined to user 'other'"):
        whole_life.for_user("other").erase_user(USER)
    assert whole_life.for_user("other").erase_user("other").sessions == 1
    assert whole_life.for_user(USER).erase_user(USER).sessions == 5


@pytest.mark.one_server  # Citus has no triggers on distributed tables.
def test_a_session_that_cannot_be_deleted_is_an_error(whole_life, connection):
    connection.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER keep BEFORE DELETE ON sessions FOR EACH ROW WHEN (old.session_id = 'paused one')"
        " EXECUTE FUNCTION keep()"
    )
    with pytest.raises(dal.StatementFailed, match="1 sessions of the user could not be deleted: a trigger"):
        whole_life.erase_user(USER)
    assert whole_life.session("paused one").record().message_count == 3
