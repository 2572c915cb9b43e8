"""Forks of a session: messages and columns, repeated forks, locks, and races with appends, removals and deletions."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import pytest
from citus_cluster import count_lock_waits

import dal
from dal import NewMessage


@pytest.fixture
def parent(store):
    """A session with six messages, without number 4, and with two agents."""
    parent = store.session("s", source="telegram", user_id="u1", metadata={"title": "x"})
    for n in range(6):
        agent = [None, "b", "a"][n % 3]
        parent.append("user", f"message {n}", agent_id=agent, metadata={"n": n}, message_id=f"m{n}")
        if n == 4:
            parent.remove_from(4)
    return parent


def copies(messages, session_id):
    return tuple(replace(message, session_id=session_id) for message in messages)


def test_a_fork_has_the_messages_before_a_number(parent):
    before = parent.record()
    fork = parent.fork(3, metadata={"title": "y"})
    assert fork.persisted
    assert (fork.source, fork.user_id, fork.parent_id, fork.metadata) == ("telegram", "u1", "s", {"title": "y"})
    assert fork.messages() == copies(parent.messages(limit=3), fork.id)
    record = fork.record()
    assert (record.source, record.user_id, record.parent_id, record.fork_point) == ("telegram", "u1", "s", 3)
    assert (record.next_sequence, record.message_count, record.status) == (3, 3, "active")
    assert (record.metadata, record.revision, record.archived_at) == ({"title": "y"}, 0, None)
    assert record.created_at > before.updated_at
    assert parent.record() == before, "the parent does not change"
    assert fork.agent_ids() == ("b", "a")
    assert fork.append("user", "another way").sequence == 3
    assert parent.append("user", "on").sequence == 6
    assert [len(one.messages()) for one in (fork, parent)] == [4, 6]


@pytest.mark.parametrize(("at", "fork_point", "messages"), [(None, 6, 5), (6, 6, 5), (99, 6, 5), (5, 5, 4), (0, 0, 0)])
def test_a_fork_ends_before_the_number_or_with_its_parent(parent, at, fork_point, messages):
    record = parent.fork(at).record()
    assert (record.fork_point, record.next_sequence, record.message_count) == (fork_point, fork_point, messages)
    assert len(parent.messages()) == 5


def test_a_fork_of_a_fork(parent):
    fork = parent.fork(4)
    fork.append("user", "another way")
    again = fork.fork()
    assert again.parent_id == fork.id
    assert [message.sequence for message in again.messages()] == [0, 1, 2, 3, 4]
    assert again.latest(1)[0].content == "another way"
    assert again.reset().parent_id == again.id
    assert again.record().status == "archived"


def test_an_archived_session_can_be_forked(parent):
    parent.archive()
    assert parent.fork().append("user", "on").sequence == 6


def test_a_session_that_is_not_stored_trashed_or_deleted_cannot_be_forked(store, parent, connection):
    with pytest.raises(dal.SessionNotFound, match="session 'none' is not stored"):
        store.session("none").fork()
    parent.trash()
    with pytest.raises(dal.SessionTrashed, match="cannot fork session 's'"):
        parent.fork()
    parent.delete()
    with pytest.raises(dal.SessionDeleted, match="session 's' was deleted"):
        parent.fork()
    assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


@pytest.mark.parametrize("at", [None, 3, 99])
def test_a_repeated_fork_is_made_once(parent, connection, at):
    fork = parent.fork(at, session_id="f")
    fork.append("user", "since then")
    if at != 99:
        parent.append("user", "since then")
    again = parent.fork(at, session_id="f")
    assert (again.id, again.parent_id, again.persisted) == ("f", "s", True)
    assert fork.latest(1)[0].content == "since then"
    parent.delete()
    assert parent.fork(at, session_id="f").id == "f"
    assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (2,)


def test_an_id_that_is_taken_is_refused(store, parent, connection):
    parent.fork(3, session_id="f")
    store.session("child", parent_id="s").append("user", "x")
    store.session("other").append("user", "x")
    before = connection.execute("SELECT * FROM sessions ORDER BY session_id").fetchall()
    for other, at, session_id in (
        (parent, 2, "f"),
        (parent, None, "s"),
        (parent, None, "child"),
        (parent, 1, "other"),
        (store.session("other"), None, "f"),
    ):
        with pytest.raises(dal.SessionExists, match=f"session '{session_id}' is already stored"):
            other.fork(at, session_id=session_id)
    assert connection.execute("SELECT * FROM sessions ORDER BY session_id").fetchall() == before
    store.session("other").delete()
    with pytest.raises(dal.SessionDeleted, match="session 'other' was deleted; give the fork another id"):
        parent.fork(session_id="other")
    assert store.session("other").messages() == ()


def test_a_confined_store_does_not_fork_onto_another_users_session(store, parent, connection):
    store.session("theirs", user_id="u2").append("user", "secret")
    mine = store.for_user("u1").session("s")
    with pytest.raises(dal.SessionExists):
        mine.fork(session_id="theirs")
    assert mine.fork(session_id="mine").user_id == "u1"
    assert connection.execute("SELECT count(*) FROM messages WHERE session_id = 'theirs'").fetchone() == (1,)


@pytest.mark.one_server  # On a cluster, no temporary table hides the library's tables from its functions.
def test_a_fork_that_a_temporary_table_hides_is_refused(side, server, options, parent):
    raw = side.connect(server.conninfo, **options)
    mine = side.store(raw)
    mine.check_schema()
    raw.execute("CREATE TEMPORARY TABLE messages (LIKE messages)")
    with pytest.raises(dal.SchemaMismatch, match="temporary"):
        mine.session("s").fork()
    raw.close()


def test_children_are_listed(store, parent):
    fork, later = parent.fork(3), parent.fork(4)
    store.session("child", parent_id="s", user_id="u2").append("user", "x")
    later.archive()
    for wanted, expected in (
        ({}, {fork.id, later.id, "child"}),
        ({"user_id": "u1"}, {fork.id, later.id}),
        ({"status": "archived"}, {later.id}),
        ({"user_id": "u2", "status": ("active", "paused")}, {"child"}),
    ):
        assert {record.session_id for record in store.sessions(parent_id="s", **wanted)} == expected
    assert len(store.sessions(parent_id=fork.id)) == 0
    page = store.sessions(parent_id="s", limit=2)
    rest = store.sessions(parent_id="s", limit=2, cursor=page.cursor)
    assert len({record.session_id for record in (*page, *rest)}) == 3
    assert rest.cursor is None
    with pytest.raises(dal.InvalidInput, match="source: cannot be given together with parent_id"):
        store.sessions(parent_id="s", source="telegram")


# Locks


@pytest.mark.one_server  # A lock_timeout that is set here does not reach the workers.
def test_a_fork_and_an_append_do_not_wait_for_each_other(connect, sync_store):
    forking, appending = connect(autocommit=False), connect(autocommit=False)
    for connection in (forking, appending):
        connection.execute("SET lock_timeout = 100")
        connection.commit()
    parent = sync_store.session("s")
    parent.append_all([NewMessage(role="user", content="x")] * 3)
    dal.SessionStore(appending).session("s").append("user", "not committed")
    fork = dal.SessionStore(forking).session("s").fork()
    dal.SessionStore(appending).session("s").remove_from(1)
    appending.commit()
    assert parent.append("user", "while the fork is not committed").sequence == 4
    forking.commit()
    record = sync_store.session(fork.id).record()
    assert (record.next_sequence, record.message_count) == (3, 3)


@pytest.mark.one_server  # A lock_timeout that is set here does not reach the workers.
def test_a_deletion_waits_for_a_fork(connect, sync_store):
    forking, deleting = connect(autocommit=False), connect()
    deleting.execute("SET lock_timeout = 100")
    sync_store.session("s").append("user", "x")
    dal.SessionStore(forking).session("s").fork()
    with pytest.raises(dal.StatementFailed, match="lock timeout"):
        dal.SessionStore(deleting).session("s").delete()
    forking.commit()
    assert dal.SessionStore(deleting).session("s").delete()


def wait_for_a_lock(connection):
    for _ in range(1000):
        if count_lock_waits(connection):
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("ends_with", ["DELETE FROM sessions", "ROLLBACK"])
def test_a_fork_waits_for_a_deletion(connect, connection, sync_store, ends_with):
    deleting, store = connect(autocommit=False), dal.SessionStore(connect())
    sync_store.session("s").append("user", "x")
    deleting.execute("DELETE FROM sessions")
    with ThreadPoolExecutor() as threads:
        fork = threads.submit(store.session("s").fork)
        wait_for_a_lock(connection)
        deleting.execute(ends_with)
        deleting.commit()
        if ends_with == "ROLLBACK":
            assert len(fork.result().messages()) == 1
        else:
            with pytest.raises(dal.SessionNotFound):
                fork.result()


def test_a_fork_that_waited_is_of_one_moment(server, connect, connection, sync_store):
    """The holder of a stronger lock appends; then the locked row is newer than the messages that the fork sees.

    On a cluster, the statement that copies the messages begins later, and sees the new ones too.
    """
    holder, store = connect(autocommit=False), dal.SessionStore(connect())
    sync_store.session("s").append("user", "x")
    holder.execute("SELECT FROM sessions WHERE session_id = 's' FOR UPDATE")
    with ThreadPoolExecutor() as threads:
        fork = threads.submit(store.session("s").fork)
        wait_for_a_lock(connection)
        dal.SessionStore(holder).session("s").append_all([NewMessage(role="user", content="y")] * 2)
        holder.commit()
        record = fork.result().record()
    copied = 3 if server.kind == "citus" else 1
    assert (record.next_sequence, record.message_count) == (copied, copied)
    assert len(sync_store.session(record.session_id).messages()) == copied


# Races

FULL = [pytest.mark.full, pytest.mark.time_limit(1800)]


class Fork(NamedTuple):
    """A fork that was made during a race."""

    session_id: str
    at: int | None
    known: int
    """The latest number that was acknowledged before it."""
    first: int
    last: int
    """The least and the most removals that it may have seen."""


class Race:
    """Appends, removals and forks of one session at once, and all that they returned."""

    def __init__(self, connect, seconds):
        self.connect, self.ends, self.known = connect, time.monotonic() + seconds, 0
        self.appended = {}
        """The message of each number."""
        self.removed, self.forks = [], []

    def run(self):
        self.appended[0] = self._session().append("user", "first")
        with ThreadPoolExecutor() as threads:
            works = [self._append, self._append, self._remove, *[self._fork] * 3]
            for done in [threads.submit(work) for work in works]:
                done.result()

    def _session(self):
        return dal.SessionStore(self.connect()).session("s")

    def _append(self):
        parent = self._session()
        while time.monotonic() < self.ends:
            for message in parent.append_all([NewMessage(role="user", content="x")] * random.randint(1, 3)):
                self.appended[message.sequence] = message
            self.known = max(self.known, message.sequence)

    def _remove(self):
        parent = self._session()
        while time.monotonic() < self.ends:
            time.sleep(random.random() / 100)
            self.removed.append(parent.remove_from(max(0, self.known - random.randint(0, 3))))

    def _fork(self):
        parent = self._session()
        while time.monotonic() < self.ends:
            known, first = self.known, len(self.removed)
            at = random.choice([None, random.randint(0, known)])
            self.forks.append(Fork(parent.fork(at).id, at, known, first, len(self.removed) + 1))

    def wrong_forks(self, connection):
        """Return the forks that equal the parent at none of the moments while they were made."""
        removals = connection.execute("SELECT first_sequence, last_sequence FROM changes ORDER BY revision").fetchall()
        effective = (n for n, messages in enumerate(self.removed, 1) if messages)
        removed_by = {}
        for n, (start, end) in zip(effective, removals, strict=True):
            for sequence in range(start, end + 1):
                removed_by.setdefault(sequence, n)
        return [fork for fork in self.forks if not self._is_right(fork, connection, removed_by)]

    def _is_right(self, fork, connection, removed_by):
        record = dal.SessionStore(connection).session(fork.session_id).record()
        messages = tuple(dal.SessionStore(connection).session(fork.session_id).stream())
        numbers = [message.sequence for message in messages]
        return (
            record.fork_point == record.next_sequence
            and (record.next_sequence > fork.known if fork.at is None else record.next_sequence == fork.at)
            and record.message_count == len(messages)
            and messages == copies((self.appended[n] for n in numbers), fork.session_id)
            and any(
                numbers == [n for n in range(record.next_sequence) if removed_by.get(n, seen + 1) > seen]
                for seen in range(fork.first, fork.last + 1)
            )
        )


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=FULL)])
def test_forks_during_appends_and_removals(connect, connection, tables, figure, seconds):
    race = Race(connect, seconds)
    race.run()
    assert len(race.forks) > 10
    assert sum(map(bool, race.removed)) > 10
    assert race.wrong_forks(connection) == []
    figure(
        f"forks among appends and removals, {seconds} s",
        f"{len(race.forks):,} forks of a session with {len(race.appended):,} appends and {len(race.removed):,} "
        "removals; 0 wrong",
    )


def fork_until_deleted(parent, deleted):
    """Fork as often as possible; return the ids."""
    made = []
    while True:
        began_late = deleted.is_set()
        try:
            made.append(parent.fork().id)
        except dal.SessionNotFound:
            return made
        assert not began_late, "a fork of a deleted session"


@pytest.mark.one_server  # On a cluster, a fork may become visible shortly afterwards; erase_user waits for it.
@pytest.mark.parametrize("rounds", [50, pytest.param(3_000, marks=FULL)])
def test_forks_during_a_deletion(connect, connection, tables, figure, rounds):
    """Each fork is whole, and stored when the deletion ends; none begins afterwards."""
    stores = [dal.SessionStore(connect()) for _ in range(4)]
    forked = 0
    with ThreadPoolExecutor() as threads:
        for n in range(rounds):
            parent, deleted = stores[0].session(f"s{n}"), threading.Event()
            parent.append_all([NewMessage(role="user", content="x")] * 20)
            forks = [threads.submit(fork_until_deleted, store.session(parent.id), deleted) for store in stores[1:]]
            time.sleep(random.random() / 50)
            assert parent.delete()
            children = connection.execute("SELECT session_id FROM sessions WHERE parent_id = %s", [parent.id])
            found = {session_id for (session_id,) in children}
            deleted.set()
            assert found == {one for made in forks for one in made.result()}, "an erasure would have missed a fork"
            forked += len(found)
    counts = connection.execute(
        "SELECT message_count, next_sequence, (SELECT count(*) FROM messages AS m WHERE m.session_id = s.session_id) "
        "FROM sessions AS s WHERE parent_id IS NOT NULL"
    )
    assert counts.fetchall() == [(20, 20, 20)] * forked
    figure(f"forks during {rounds:,} deletions", f"{forked:,} forks; 0 partial, 0 missed, 0 after the deletion")
