"""A statement deletes a limited number of messages; several in one transaction delete a longer session."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from citus_cluster import count_lock_waits
from faults.cluster import wait_until

import dal
from dal import NewMessage

SOON = datetime.now(UTC) + timedelta(days=1)
LONG, STEP = 25, 10


@pytest.fixture
def stored(store, connection):
    """Store a session of 25 messages that has been idle the longest, and three short ones; then a younger long one."""
    for n, (name, messages) in enumerate({"long": LONG, "s0": 4, "s1": 4, "s2": 4, "young": LONG}.items()):
        store.session(name, user_id="u1").append_all([NewMessage(role="user", content="x")] * messages)
        connection.execute(
            "UPDATE sessions SET updated_at = %(at)s, listed_at = %(at)s WHERE session_id = %(name)s",
            {"at": datetime(2026, 1, 1, n, tzinfo=UTC), "name": name},
        )
    return store


@pytest.fixture
def hooked(side, server, schema, stored):
    """Create a store on one connection that calls a function after each step of a long deletion."""
    stores = []

    def make(after_step):
        def hook(operation):
            if operation.query == "messages.delete_range":
                after_step()

        stores.append(side.connect_store(server.conninfo, schema=schema, max_size=1, hook=hook))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def messages_of(connection, session_id):
    return connection.execute("SELECT count(*) FROM messages WHERE session_id = %s", [session_id]).fetchone()[0]


@pytest.mark.parametrize("user_id", [None, "u1"])
def test_a_statement_deletes_a_limited_number_of_messages(stored, connection, user_id):
    store = stored if user_id is None else stored.for_user(user_id)
    assert store.delete_idle(SOON, message_limit=STEP) == ("long",), "it is deleted alone"
    assert sorted(store.delete_idle(SOON, message_limit=STEP)) == ["s0", "s1"]
    assert store.delete_idle(SOON, message_limit=4) == ("s2",)
    assert store.delete_idle(SOON, message_limit=LONG) == ("young",)
    assert store.delete_idle(SOON, message_limit=1) == ()
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (0,)


@pytest.mark.parametrize("user_id", [None, "u1"])
def test_a_long_session_is_visible_as_a_whole_until_it_is_deleted(stored, hooked, connection, user_id):
    seen = []
    store = hooked(lambda: seen.append(messages_of(connection, "long")))
    store = store if user_id is None else store.for_user(user_id)
    assert store.delete_idle(SOON, message_limit=STEP) == ("long",)
    assert seen == [LONG] * 3
    assert messages_of(connection, "long") == 0
    tombstone = "SELECT status, next_sequence, message_count, revision FROM sessions WHERE session_id = 'long'"
    assert connection.execute(tombstone).fetchone() == ("deleted", LONG, 0, 1)
    assert messages_of(connection, "young") == LONG


def test_an_append_keeps_a_long_session(stored, hooked, connection):
    writer = dal.SessionStore(connection).session("long")
    store = hooked(lambda: writer.append("user", "not idle any more", message_id="m"))
    assert sorted(store.delete_idle(datetime(2026, 1, 2, tzinfo=UTC), message_limit=STEP)) == ["s0", "s1"]
    assert messages_of(connection, "long") == LONG + 1
    assert writer.record().status == "active"


def test_an_interrupted_deletion_of_a_long_session_is_resumed(stored, hooked, connection):
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    store = hooked(lambda: connection.execute(kill))
    with pytest.raises(dal.ServerUnavailable):
        store.delete_idle(SOON, message_limit=STEP)
    assert messages_of(connection, "long") == LONG
    assert stored.session("long").record().status == "active"
    assert stored.delete_idle(SOON, message_limit=STEP) == ("long",)
    assert messages_of(connection, "long") == 0


@pytest.mark.parametrize("held", ["messages WHERE session_id = 'long'", "sessions WHERE session_id = 'long'"])
def test_a_long_session_that_is_in_use_is_skipped(stored, connect, connection, held):
    holder = connect(autocommit=False)
    holder.execute(f"SELECT FROM {held} FOR KEY SHARE")
    assert sorted(stored.delete_idle(SOON, message_limit=STEP)) == ["s0", "s1"]
    assert stored.delete_idle(SOON, message_limit=STEP) == ("s2",)
    assert stored.delete_idle(SOON, message_limit=STEP) == ("young",)
    assert stored.delete_idle(SOON, message_limit=STEP) == ()
    assert messages_of(connection, "long") == LONG
    holder.rollback()
    assert stored.delete_idle(SOON, message_limit=STEP) == ("long",)


def test_sessions_in_use_do_not_hide_the_others(stored, connect):
    holder = connect(autocommit=False)
    for session_id in ("long", "s0"):
        holder.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [session_id])
    assert stored.delete_idle(SOON, limit=1) == ("s1",)
    assert stored.delete_idle(SOON, limit=2, message_limit=5) == ("s2",)
    holder.rollback()


def test_a_transaction_of_the_caller_deletes_any_number_of_messages(stored, connection):
    with stored.transaction() as transaction:
        assert len(transaction.delete_idle(SOON, message_limit=1)) == 5
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (0,)


def test_an_erasure_deletes_a_limited_number_of_messages_in_a_statement(stored, hooked, connection):
    stored.session("long").remove_last(1)
    seen, steps = [], []
    store = hooked(lambda: seen.append(messages_of(connection, "long") + messages_of(connection, "young")))
    receipt = store.erase_user("u1", message_limit=STEP, progress=steps.append)
    assert [(step.sessions, step.messages, step.removed_messages) for step in steps] == [
        (2, 8, 0), (3, 12, 0), (4, 37, 0), (5, 61, 1)
    ]  # fmt: skip
    assert receipt == steps[-1]
    assert seen == [2 * LONG - 1] * 3 + [LONG - 1] * 3
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (0,)
    assert store.sessions(user_id="u1").sessions == ()


@pytest.mark.parametrize("session_id", ["long", "young"])
def test_an_erasure_takes_what_was_appended_to_a_long_session_meanwhile(stored, hooked, connection, session_id):
    """The append moves the session behind the others, so the last statement finds another one first."""
    writer = dal.SessionStore(connection).session(session_id)
    store = hooked(lambda: writer.append("user", "late", message_id="m"))
    receipt = store.erase_user("u1", message_limit=LONG - 1)
    assert (receipt.sessions, receipt.messages) == (5, 2 * LONG + 12 + 1)
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (0,)


@pytest.mark.one_server  # Citus chooses itself which transaction a deadlock ends.
def test_an_erasure_repeats_a_long_session_after_a_deadlock_with_a_removal(stored, hooked, connect, connection):
    remover = connect()
    remover.execute("SET deadlock_timeout = '20s'")  # So that the erasure is ended, not the removal.
    removing, removed = [], []

    def remove():
        removed.append(dal.SessionStore(remover).session("long").remove_from(5))

    def after_step():
        if not removing:
            removing.append(threading.Thread(target=remove))
            removing[0].start()
            wait_until(lambda: count_lock_waits(connection) > 0, "the removal waits for a deleted message")

    receipt = hooked(after_step).erase_user("u1", message_limit=STEP)
    removing[0].join()
    assert removed == [LONG - 5]
    assert (receipt.sessions, receipt.messages, receipt.removed_messages) == (5, 2 * LONG + 12 - 20, 20)
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (0,)


def test_an_interrupted_erasure_of_a_long_session_is_resumed(stored, hooked, connection):
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    store = hooked(lambda: connection.execute(kill))
    with pytest.raises(dal.ServerUnavailable):
        store.erase_user("u1", message_limit=STEP)
    assert {messages_of(connection, "long"), messages_of(connection, "young")} == {LONG}
    assert stored.erase_user("u1", message_limit=STEP) == dal.Erased(5, 2 * LONG + 12, 0)


def test_the_number_of_messages_is_checked(store):
    for delete in (lambda: store.delete_idle(SOON, message_limit=0), lambda: store.erase_user("u1", message_limit=0)):
        with pytest.raises(dal.InvalidInput, match="message_limit: "):
            delete()
