"""The release before this one keeps writing while its tables are upgraded, and until `dal schema upgrade --finish`."""

import random
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest
from old_tables import APPEND, finish, send, upgrade, wait_until

import dal
from dal.schema import check, migrations

CALL = APPEND | {"owner": None}
WITHOUT_ANSWER = 0.5
"""The seconds that a writer may wait for anything during an upgrade."""


@pytest.fixture
def old_version():
    return 5


@pytest.fixture
def store(old):
    """A store of this release, on the upgraded tables of the previous one."""
    upgrade(old)
    return dal.SessionStore(old)


def append(connection, session_id, message_id, **parameters):
    ((sequence, *_),) = send(
        connection, 5, "append", **CALL | {"session_id": session_id, "message_id": message_id} | parameters
    )
    return sequence


def append_all(connection, session_ids, message_ids):
    """Append a message to each of these sessions in one statement, as the previous release's writers do."""
    count = len(session_ids)
    rows = send(
        connection,
        5,
        "append_all",
        session_ids=session_ids,
        sources=[""] * count,
        user_ids=[""] * count,
        parent_ids=[""] * count,
        session_metadata=["{}"] * count,
        confined=False,
        patience=None,
        places=list(range(1, count + 1)),
        calls=list(range(1, count + 1)),
        message_ids=message_ids,
        roles=["user"] * count,
        agent_ids=[""] * count,
        contents=["x"] * count,
        metadata=["{}"] * count,
    )
    return [sequence for _, sequence, *_ in rows]


def remove_from(connection, session_id, sequence, removal_id):
    rows = send(
        connection, 5, "remove_from", session_id=session_id, sequence=sequence, removal_id=removal_id, owner=None
    )
    return rows[0] if rows else None


class Writers:
    """Threads that write like the previous release, with what was acknowledged, and the longest wait of a statement."""

    def __init__(self, connect):
        self.connect, self.over = connect, threading.Event()
        self.stored, self.errors, self.longest, self.calls = {}, [], 0.0, 0
        self._lock = threading.Lock()

    def timed(self, call, *arguments):
        began = time.monotonic()
        result = call(*arguments)
        with self._lock:
            self.longest = max(self.longest, time.monotonic() - began)
            self.calls += 1
        return result

    def acknowledge(self, session_id, sequence, message_id):
        with self._lock:
            numbers = self.stored.setdefault(session_id, {})
            assert sequence not in numbers, f"two messages of {session_id} were given number {sequence}"
            numbers[sequence] = message_id

    def one(self, connection, n, turn):
        """Append to a session that all share."""
        message_id = f"one-{n}-{turn}"
        self.acknowledge("shared", self.timed(append, connection, "shared", message_id), message_id)

    def several(self, connection, n, turn):
        """Append to several sessions, in one statement."""
        session_ids, ids = ["shared", f"own-{n}", f"new-{n}-{turn}"], [f"all-{n}-{turn}-{k}" for k in range(3)]
        for one, sequence, message_id in zip(
            session_ids, self.timed(append_all, connection, session_ids, ids), ids, strict=True
        ):
            self.acknowledge(one, sequence, message_id)

    def remove(self, connection, n, turn):
        """Append two messages to a session of one's own, and remove the second one."""
        session_id = f"removed-{n}"
        for k in range(2):
            message_id = f"{turn}-{k}"
            sequence = self.timed(append, connection, session_id, message_id)
            if k == 0:
                self.acknowledge(session_id, sequence, message_id)
        assert self.timed(remove_from, connection, session_id, sequence, f"{turn}") == (1, False)

    def end(self, connection, n, turn):
        """Archive a session, and delete one."""
        for name, statement in ((f"archived-{n}-{turn}", "archive"), (f"deleted-{n}-{turn}", "delete")):
            sequence = self.timed(append, connection, name, "m")
            if statement == "archive":
                self.acknowledge(name, sequence, "m")
            parameters = {"session_id": name, "owner": None}
            rows = self.timed(lambda one=statement, call=parameters: send(connection, 5, one, **call))
            assert len(rows) == 1

    def run(self, n, act):
        try:
            with self.connect() as connection:
                turn = 0
                while not self.over.is_set():
                    act(connection, n, turn)
                    turn += 1
        except (psycopg.Error, AssertionError) as error:
            self.errors.append(error)

    def hold(self):
        """Hold locks on the tables for longer than an upgrade waits for them."""
        with self.connect(autocommit=False) as connection:
            while not self.over.is_set():
                append(connection, "held", f"{time.monotonic()}")
                time.sleep(0.4)
                connection.commit()
                time.sleep(random.uniform(0, 0.1))

    @contextmanager
    def at_work(self):
        acts = [self.one, self.one, self.several, self.several, self.remove, self.end]
        threads = [threading.Thread(target=self.run, args=[n, act]) for n, act in enumerate(acts)]
        threads.append(threading.Thread(target=self.hold))
        for thread in threads:
            thread.start()
        try:
            self.go_on()
            yield
            self.go_on()
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
        assert self.errors == []

    def go_on(self):
        """Wait until the writers have made some more calls."""
        calls = self.calls
        wait_until(lambda: self.errors or self.calls > calls + 200)


def test_it_writes_before_during_and_after_an_upgrade(old, connect_old, figure):
    writers, reports = Writers(connect_old), []
    with writers.at_work():
        began, before = time.monotonic(), writers.calls
        migrations.upgrade(old, reports.append)
        seconds, during = time.monotonic() - began, writers.calls - before
    figure(
        "writers of the release before, during an upgrade",
        f"{writers.calls} statements, {during} of them in the {seconds:.1f} s of the upgrade, "
        f"which waited {sum('not yet' in one for one in reports)} times; longest {writers.longest * 1000:.0f} ms",
    )
    found = {}
    for session_id, sequence, message_id in old.execute(
        "SELECT session_id, sequence, message_id FROM messages WHERE session_id <> 'held'"
    ).fetchall():
        found.setdefault(session_id, {})[sequence] = message_id
    assert found == writers.stored, "nothing was lost, and nothing stored twice"
    for session_id, numbers in found.items():
        step = 2 if session_id.startswith("removed") else 1
        assert sorted(numbers) == list(range(0, step * len(numbers), step)), session_id
    counts = "SELECT session_id, message_count FROM sessions WHERE session_id <> 'held'"
    assert dict(old.execute(counts).fetchall()) == {one: len(numbers) for one, numbers in found.items()}
    assert writers.longest < WITHOUT_ANSWER


def test_its_removals_are_recorded_where_it_looks_for_them(old, store):
    for n in range(3):
        append(old, "s", f"m{n}")
    assert remove_from(old, "s", 1, "r") == (2, False)
    append(old, "s", "since")
    assert remove_from(old, "s", 1, "r") == (2, False), "it finds its record, and removes nothing more"
    assert [message.message_id for message in store.session("s").latest()] == ["m0", "since"]
    assert old.execute("SELECT sequence, messages FROM removals").fetchall() == [(1, 2)]
    assert old.execute("SELECT FROM changes").fetchall() == []
    finish(old)
    assert old.execute("SELECT to_regclass('removals')").fetchone() == (None,)


def change(connection, status):
    """Make a session trashed or deleted, as this release does."""
    append(connection, "s", "m")
    connection.execute(
        "UPDATE sessions SET status = %s, trashed_from = CASE WHEN %s = 'trashed' THEN status END, "
        "revision = revision + 1 WHERE session_id = 's'",
        [status, status],
    )


CHANGES = {
    "append": lambda connection: append(connection, "s", "m2"),
    "append_all": lambda connection: append_all(connection, ["other", "s"], ["m", "m2"]),
    "archive": lambda connection: send(connection, 5, "archive", session_id="s", owner=None),
    "remove_from": lambda connection: remove_from(connection, "s", 0, "r"),
    "update_metadata": lambda connection: send(
        connection, 5, "update_metadata", session_id="s", metadata='{"a": 1}', owner=None
    ),
}


@pytest.mark.parametrize("status", ["trashed", "deleted"])
@pytest.mark.parametrize("name", CHANGES)
def test_it_cannot_change_a_trashed_or_deleted_session(old, store, status, name):
    change(old, status)
    tables = [f"TABLE {table}" for table in ("sessions", "messages", "removals")]
    before = [old.execute(one).fetchall() for one in tables]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as error:
        CHANGES[name](old)
    assert error.value.diag.message_primary == (
        f'session "s" is {status}, and this release of session-dal is too old to change it'
    )
    assert [old.execute(one).fetchall() for one in tables] == before


def test_its_delete_leaves_no_row(old, store):
    for status in ("trashed", "deleted"):
        change(old, status)
        assert send(old, 5, "delete", session_id="s", owner=None) == [("s",)]
        assert old.execute("SELECT FROM sessions").fetchall() == []


def test_its_stores_accept_the_tables_until_the_upgrade_is_finished(old, connect_old, store, monkeypatch):
    monkeypatch.setattr(check, "VERSION", 5)
    dal.SessionStore(old).check_schema()
    monkeypatch.undo()
    version = check.VERSION
    finish(old)
    monkeypatch.setattr(check, "VERSION", 5)
    with (
        connect_old() as connection,
        pytest.raises(
            dal.SchemaMismatch,
            match=rf"have version {version}, and this release of session-dal is made for 5; install a newer one",
        ),
    ):
        dal.SessionStore(connection).check_schema()


def test_this_release_works_before_the_upgrade_is_finished(old, store):
    """The trigger, which only the previous release needs, refuses nothing of this one's."""
    session = store.session("s", user_id="u1")
    for n in range(3):
        session.append("user", f"{n}", agent_id="a", message_id=f"m{n}")
    assert session.remove_from(2) == 1
    session.archive()
    assert session.trash().status == "trashed"
    assert session.trash().status == "trashed"
    assert session.agent_ids() == ("a",)
    with pytest.raises(dal.SessionTrashed):
        session.append("user", "x")
    assert session.restore().status == "archived"
    assert session.redact("m0").content == ""
    assert session.fork().messages()[1].content == "1"
    assert session.delete()
    with pytest.raises(dal.SessionDeleted):
        session.append("user", "x")
    session.create(again=True)
    assert session.append("user", "x").sequence == 3
    assert store.erase_user("u1").sessions == 2
