"""Races between changes of one session: nothing is lost, and no answer is there twice.

The short runs are part of the suite; the full ones run with --faults=full.
"""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sides import unwrap

import dal
from dal import NewMessage


def rounds(short, full):
    """Run a test with few rounds, and with many if the slow tests run."""
    return pytest.mark.parametrize(
        "rounds", [pytest.param(short, id="short"), pytest.param(full, id="full", marks=pytest.mark.full)]
    )


def answer(text):
    return [NewMessage(role="assistant", content=text)]


@pytest.fixture
def devices(side, server, options, tables):
    """Stores on connections of their own, as of several devices."""
    connections = [side.connect(server.conninfo, **options) for _ in range(4)]
    stores = [side.store(connection) for connection in connections]
    for store in stores:
        store.check_schema()
    yield stores
    for connection in connections:
        connection.close()


@rounds(30, 1000)
@pytest.mark.parametrize("if_next", [2, None], ids=["if_next", "unconditional"])
def test_two_devices_regenerate_an_answer(side, devices, rounds, if_next, figure):
    """With if_next, exactly one of them succeeds. Without it, the later one replaces the answer of the other."""
    won = Counter()
    for n in range(rounds):
        name = f"s{n}"
        devices[0].session(name).append_all([NewMessage(role="user", content="?"), *answer("first")])
        sessions = [unwrap(store.session(name)) for store in devices[:2]]
        outcomes = side.call_concurrently(
            [lambda one=one, d=d: one.replace_from(1, answer(f"of {d}"), if_next=if_next)
             for d, one in enumerate(sessions)]
        )  # fmt: skip
        overtaken = [one for one in outcomes if isinstance(one, dal.Overtaken)]
        replaced = [one[0] for one in outcomes if isinstance(one, tuple)]
        assert len(overtaken) == (0 if if_next is None else 1), outcomes
        assert len(replaced) + len(overtaken) == 2, outcomes
        question, *answers = devices[0].session(name).messages()
        assert answers == [max(replaced, key=lambda one: one.sequence)], "never two answers, and never none"
        assert question.sequence == 0
        won[answers[0].content] += 1
    figure(
        f"race, two devices regenerate{'' if if_next is None else ' with if_next'}, {side.name}",
        f"{rounds:,} sessions; the answer of each device stayed in {sorted(won.values())}; 0 with two answers or none",
    )


@pytest.fixture
def together(connect):
    """Run functions at the same time, each with a store on its own connection; return their results."""

    def run(*functions):
        stores = [dal.SessionStore(connect()) for _ in functions]
        start = threading.Barrier(len(functions))

        def one(n):
            stores[n].check_schema()
            start.wait()
            return functions[n](stores[n].session("s"))

        with ThreadPoolExecutor(len(functions)) as threads:
            return list(threads.map(one, range(len(functions))))

    return run


def appends(rounds):
    return lambda session: [session.append("user", str(n)) for n in range(rounds)]


@rounds(100, 3000)
def test_messages_are_popped_while_others_append(together, connection, rounds, figure):
    """Each acknowledged message is popped once, or still there."""
    done = threading.Event()

    def append(session):
        try:
            return appends(rounds)(session)
        finally:
            done.set()

    def pop(session):
        popped = []
        while not done.is_set():
            try:
                popped += session.remove_last(random.choice((1, 1, 2)))
            except dal.SessionNotFound:  # Nobody has appended yet.
                continue
        return popped

    first, second, *popped = together(append, append, pop, pop, pop)
    session = dal.SessionStore(connection).session("s")
    stored = Counter(one.sequence for one in (*first, *second))
    found = Counter(one.sequence for by in popped for one in by)
    left = Counter(one.sequence for one in session.messages(limit=100_000))
    assert found + left == stored, "no message is lost, and none is popped twice"
    assert Counter(one.sequence for one in session.removed(limit=100_000)) == found
    assert {one for by in popped for one in by} <= {*first, *second}, "as it was appended"
    record = session.record()
    assert (record.message_count, record.next_sequence) == (left.total(), stored.total())
    assert found
    figure(
        "race, three pop while two append",
        f"{stored.total():,} acknowledged: {found.total():,} popped once, {left.total():,} left, 0 lost, 0 twice",
    )


@rounds(100, 2000)
def test_answers_are_replaced_while_others_append(together, connection, rounds, figure):
    """Each acknowledged message is stored or was removed by a replacement, and never both."""

    def replace(name):
        def run(session):
            done = []
            for n in range(rounds):
                last = session.latest(1)
                start = last[0].sequence if last else 0
                try:
                    done += session.replace_from(start, answer(f"{name} {n}"))
                except dal.SessionNotFound:
                    continue
            return done

        return run

    results = together(appends(rounds), appends(rounds), replace("x"), replace("y"))
    acknowledged = {one.sequence: one.content for result in results for one in result}
    assert len(acknowledged) == sum(map(len, results)), "no number is given twice"
    session = dal.SessionStore(connection).session("s")
    left = {one.sequence: one.content for one in session.messages(limit=100_000)}
    removed = {one.sequence: one.content for one in session.removed(limit=100_000)}
    assert not left.keys() & removed.keys()
    assert left | removed == acknowledged
    record = session.record()
    assert (record.message_count, record.next_sequence) == (len(left), len(acknowledged))
    assert removed
    figure(
        "race, two replace while two append",
        f"{len(acknowledged):,} acknowledged: {len(removed):,} replaced, {len(left):,} left, 0 lost",
    )


class Follower:
    """A reader that follows a session, as in docs/guides/following.md."""

    def __init__(self):
        self.messages, self.last, self.revision, self.anew = {}, -1, 0, 0

    def poll(self, session):
        for change in session.changes(after=self.revision, limit=1000):
            if change.revision > self.revision + 1:
                self.read_anew(session)
                return
            if change.kind in {"remove", "replace"} and change.messages:
                for number in [n for n in self.messages if change.first_sequence <= n <= change.last_sequence]:
                    del self.messages[number]
            self.revision = change.revision
        for message in session.messages(after=self.last, limit=1000):
            self.messages[message.sequence] = message
            self.last = message.sequence

    def read_anew(self, session):
        self.anew += 1
        self.revision = session.record().revision
        self.messages = {message.sequence: message for message in session.messages(limit=100_000)}
        self.last = max(self.messages, default=self.last)


@rounds(100, 2000)
def test_a_reader_follows_a_session(together, connect, connection, rounds, figure):
    """In the end it has the messages of the session, although changes were pruned meanwhile."""
    follower, pruning, done = Follower(), connect(), threading.Event()

    def write(session):
        try:
            for n in range(rounds):
                session.append("user", str(n))
                if n % 3 == 0:
                    session.remove_last(2)
                if n % 5 == 0:
                    session.replace_from(max(0, session.record().next_sequence - 3), answer(f"again {n}"))
                if n % 40 == 39:
                    pruning.execute("UPDATE changes SET changed_at = now() - interval '2 hours'")
        finally:
            done.set()

    def follow(session):
        polls = 0
        while not done.is_set():
            follower.poll(session)
            polls += 1
        return polls

    _, polls = together(write, follow)
    session = dal.SessionStore(connection).session("s")
    follower.poll(session)
    follower.poll(session)
    assert list(follower.messages.values()) == list(session.messages(limit=100_000))
    assert follower.revision == session.record().revision
    assert follower.revision > rounds // 3
    figure(
        "a reader that follows a session",
        f"{polls:,} polls, {follower.revision:,} changes, read anew {follower.anew} times; equal in the end",
    )


def test_a_reader_that_was_away_reads_anew(connection):
    session, follower = dal.SessionStore(connection).session("s"), Follower()
    for n in range(6):
        session.append("user", str(n))
    follower.poll(session)
    for n in (5, 4):
        session.remove_from(n)
    connection.execute("UPDATE changes SET changed_at = now() - interval '2 hours'")
    session.remove_from(3)
    follower.poll(session)
    assert (follower.anew, list(follower.messages)) == (1, [0, 1, 2])
