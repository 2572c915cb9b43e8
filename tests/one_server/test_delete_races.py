"""Deletes race with everything that writes: no session comes back, and no message is left or lost.

One race is one session that is deleted while another connection writes to it. The slow tests run 100,000 with appends.
"""

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

import dal
from dal import NewMessage

PAIRS, CHUNK = 4, 50
"""Pairs of a writer and a deleter, each with a connection of its own; the sessions that a pair is given at once."""

NEW = NewMessage(role="user", content="x")


def line(session_id):
    return json.dumps({"message": {"session_id": session_id, "role": "user", "content": "x"}})


def imported(store, session_id):
    outcome = store.import_([line(session_id), line(session_id)])
    if outcome.refused:
        assert outcome.refused == {session_id: "it was deleted"}
        raise dal.SessionDeleted("")
    return outcome.messages


def appended_to_each(store, session_id):
    try:
        return len(store.append_all([(store.session(session_id), NEW)]))
    except dal.PartlyRefused as error:
        raise error.outcomes[0] from None


def of_session(write):
    return lambda store, session_id: write(store.session(session_id))


WRITES = {
    # name: a call that returns how many messages it has stored, or raises SessionDeleted
    "append": of_session(lambda session: len([session.append("user", "x")])),
    "append_all": of_session(lambda session: len(session.append_all([NEW, NEW]))),
    "append_all of a store": appended_to_each,
    "writer": of_session(lambda session: len([session.append("user", "x")])),
    "import": imported,
    "reset": of_session(lambda session: 0 * len(session.reset().id)),
    "create": of_session(lambda session: 0 * session.create().revision),
    "update_metadata": of_session(lambda session: 0 * session.update_metadata({"a": 1}).revision),
}


@pytest.fixture
def make_store(server, schema, tables):
    """Open a store with a pool of its own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            dal.SessionStore.connect(server.conninfo, schema=schema, timeout=60, **options)
        )


class Race:
    """The races of one pair."""

    def __init__(self, store, writing, write):
        self.store, self.writing, self.write = store, writing, write
        self.tally = Counter()
        self.seconds = 0.001
        """About how long a write takes."""
        self.start, self.end = threading.Barrier(2), threading.Barrier(2)

    def run(self, threads, ids, connection):
        """Race for each of these sessions, and check what is left of them."""
        self.store.append_all([(self.store.session(one), NEW) for one in ids])
        deleting = threads.submit(self.delete_each, ids)
        stored = threads.submit(self.write_to_each, ids).result()
        deleting.result()
        rows = connection.execute(
            "SELECT s.session_id, s.status, s.metadata, s.next_sequence, s.message_count, "
            "(SELECT count(*) FROM messages AS m WHERE m.session_id = s.session_id) "
            "FROM sessions AS s WHERE s.session_id = ANY(%s)",
            [ids],
        ).fetchall()
        self.tally["races"] += len(ids)
        self.tally["gone"] += len(ids) - len(rows)
        for session_id, status, metadata, next_sequence, counted, messages in rows:
            self.tally["brought back"] += status != "deleted" or metadata != {}
            self.tally["left messages"] += bool(messages or counted)
            self.tally["lost messages"] += next_sequence != 1 + stored[session_id]

    def delete_each(self, ids):
        chance = random.Random(ids[0])
        for one in ids:
            self.start.wait()
            time.sleep(chance.random() * 2 * self.seconds)  # So that either may be first.
            assert self.store.session(one).delete()
            self.end.wait()

    def write_to_each(self, ids):
        stored = Counter()
        for one in ids:
            self.start.wait()
            for _ in range(3):
                self.attempt(one, stored)
            self.end.wait()
            before = self.tally["refused"]
            self.attempt(one, stored)
            self.tally["brought back"] += self.tally["refused"] == before  # It began after the delete had ended.
        return stored

    def attempt(self, one, stored):
        began = time.monotonic()
        try:
            stored[one] += self.write(self.writing, one)
            self.tally["written"] += 1
        except dal.SessionDeleted:
            self.tally["refused"] += 1
        self.seconds += (time.monotonic() - began - self.seconds) / 10


def race(make_store, connection, write, races, *, writer=False):
    """Return the tally of all pairs."""
    with ExitStack() as stack, ThreadPoolExecutor(3 * PAIRS) as threads:
        writing = stack.enter_context(make_store(max_size=PAIRS).writer()) if writer else None
        pairs = [Race(make_store(max_size=1), writing or make_store(max_size=1), write) for _ in range(PAIRS)]
        connections = [stack.enter_context(make_store(max_size=1).connection()) for _ in pairs]

        def run(n):
            for first in range(n * CHUNK, races, PAIRS * CHUNK):
                pairs[n].run(threads, [f"s{m}" for m in range(first, min(races, first + CHUNK))], connections[n])

        list(threads.map(run, range(PAIRS)))
    return sum((pair.tally for pair in pairs), Counter())


FULL = [pytest.mark.full, pytest.mark.time_limit(1800)]


@pytest.mark.parametrize("races", [1_000, pytest.param(100_000, marks=FULL)])
def test_deletes_race_with_appends(make_store, connection, races, figure):
    check(race(make_store, connection, WRITES["append"], races), races, "append", figure)


@pytest.mark.parametrize("races", [200, pytest.param(5_000, marks=FULL)])
@pytest.mark.parametrize("name", sorted(WRITES.keys() - {"append"}))
def test_deletes_race_with_other_writes(make_store, connection, name, races, figure):
    check(race(make_store, connection, WRITES[name], races, writer=name == "writer"), races, name, figure)


def check(tally, races, name, figure):
    wrong = {kind: tally[kind] for kind in ("gone", "brought back", "left messages", "lost messages")}
    figure(
        f"delete × {name}",
        f"{tally['races']:,} races, {tally['written']:,} writes before and {tally['refused']:,} after the delete; "
        f"{sum(wrong.values())} wrong {wrong}",
    )
    assert tally["races"] == races
    assert not any(wrong.values()), wrong
    assert min(tally["written"], tally["refused"] - races) > races / 50, "both came first, and often"


@pytest.mark.parametrize("races", [1_000, pytest.param(20_000, marks=FULL)])
def test_deletions_of_idle_sessions_race_with_appends(make_store, connection, races, figure):
    """A session is either deleted, or keeps the message that was appended; never both, and never neither."""
    deleter, stores = make_store(max_size=1), [make_store(max_size=1) for _ in range(3)]
    tally = Counter()

    def append_to_each(n, ids):
        for one in ids[n::3]:
            try:
                stores[n].session(one).append("user", "y")
                kept.add(one)
            except dal.SessionDeleted:
                pass

    def delete_all(before):
        while deleted := deleter.delete_idle(before, limit=7):
            gone.update(deleted)

    with ThreadPoolExecutor(4) as threads:
        for first in range(0, races, 100):
            ids, kept, gone = [f"s{n:06}" for n in range(first, first + 100)], set(), set()
            deleter.append_all([(deleter.session(one), NEW) for one in ids])
            (before,) = connection.execute("SELECT clock_timestamp()").fetchone()
            calls = [threads.submit(append_to_each, n, ids) for n in range(3)] + [threads.submit(delete_all, before)]
            for call in calls:
                call.result()
            delete_all(before)
            rows = connection.execute(
                "SELECT s.session_id, s.status, s.next_sequence, s.message_count, "
                "(SELECT count(*) FROM messages AS m WHERE m.session_id = s.session_id) "
                "FROM sessions AS s WHERE s.session_id = ANY(%s)",
                [ids],
            ).fetchall()
            expected = [(one, "active", 2, 2, 2) for one in kept] + [(one, "deleted", 1, 0, 0) for one in gone]
            tally["wrong"] += len(set(rows) ^ set(expected)) + len(kept & gone) + len(set(ids) - kept - gone)
            tally["kept"] += len(kept)
            tally["deleted"] += len(gone)
            connection.execute("DELETE FROM sessions")
    figure(
        "delete_idle × append",
        f"{races:,} races, {tally['kept']:,} kept, {tally['deleted']:,} deleted; {tally['wrong']} wrong",
    )
    assert tally["wrong"] == 0
    assert min(tally["kept"], tally["deleted"]) > races / 50
