"""The checker of histories finds each fault in made-up histories, and none in real ones.

uv run pytest tests/one_server/test_history.py --hypothesis-profile=thorough makes more runs.
"""

import asyncio
import multiprocessing
import random
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count

import psycopg
import pytest
from history import Event, Final, History, Line, check, final_of
from hypothesis import settings

import dal

A, B, C, D = Line("a", "x"), Line("b", "y"), Line("c"), Line("d", "z")


def append(at, *lines, numbers, client="w1", lasts=10):
    return Event(client, "s", "append", list(lines), at, at + lasts, numbers)


def read(at, *lines, after=-1, first=0, client="r1"):
    return Event(client, "s", "read", after, at, at + 5, dict(enumerate(lines, first)))


def refused(at, *lines, error="SessionArchived", client="w2"):
    return Event(client, "s", "append", list(lines), at, at + 10, refused=error)


def archive(at, lasts=10):
    return Event("closer", "s", "archive", None, at, at + lasts, outcome=True)


def listed(at, *agents, operation="agent_ids"):
    return Event("r2", "s", operation, None, at, at + 5, agents)


EVENTS = [
    append(0, A, numbers=[0]),
    append(5, B, C, numbers=[1, 2], client="w2", lasts=20),
    read(15, A),
    read(16, A, B, C, client="r2"),
    listed(30, "x", "y"),
    read(30, C, after=1, first=2, client="r3"),
    archive(40),
    append(45, D, numbers=[3]),  # In flight while it was archived.
    refused(46, Line("e")),
    listed(60, None, operation="cached"),
    append(70, A, numbers=[0], client="w3"),  # Sent again.
    refused(80, Line("f")),
    read(80, A, B, C, D),
    listed(81, "x", "y", "z"),
    listed(90, "x", "y", "z", operation="cached"),
]
EVENTS[9].outcome = None
FINAL = Final("s", "archived", 4, 4, ("x", "y", "z"), list(enumerate([A, B, C, D])))


def changed(final=FINAL, /, **fields):
    return replace(final, **fields)


def test_a_correct_history_passes():
    verdict = check(EVENTS, [FINAL])
    assert verdict.problems == []
    assert (verdict.acknowledged, verdict.refused, verdict.unknown) == (5, 2, 0)
    assert (verdict.lost, verdict.duplicated, verdict.gaps) == (0, 0, 0)


REST = [(1, B), (2, C), (3, D)]
FAULTS = {
    # name: (a part of the reported problem, the events, the final state)
    "a gap": ("has no message [1]", EVENTS, changed(lines=[(0, A), (2, C), (3, D)])),
    "a lost last message": (
        "acknowledged as 3, but is not stored",
        EVENTS,
        changed(lines=FINAL.lines[:3], message_count=3),
    ),
    "a lost message": ("acknowledged as 0, but is not stored", EVENTS, changed(lines=REST, message_count=3)),
    "a number beyond the counter": ("message_count is 4 and next_sequence 3", EVENTS, changed(next_sequence=3)),
    "a wrong count": ("message_count is 3 and next_sequence 4", EVENTS, changed(message_count=3)),
    "stored twice": (
        "'a' is stored 2 times",
        EVENTS,
        changed(lines=[*FINAL.lines, (4, A)], next_sequence=5, message_count=5),
    ),
    "one number for two messages": (
        "two messages have the same number",
        [*EVENTS, append(0, Line("e"), numbers=[3])],
        changed(lines=[*FINAL.lines, (3, Line("e"))], message_count=5),
    ),
    "a message of no client": (
        "sent by no client",
        EVENTS,
        changed(lines=[*FINAL.lines, (4, Line("e"))], next_sequence=5, message_count=5),
    ),
    "an altered agent": ("sent by no client", EVENTS, changed(lines=[(0, Line("a", "y")), *REST])),
    "two acknowledgements for one message": (
        "acknowledged as 0 and as 1",
        [*EVENTS, append(71, A, numbers=[1])],
        FINAL,
    ),
    "a batch out of order": ("appended several messages", [append(0, B, A, numbers=[1, 0]), *EVENTS], FINAL),
    "numbers against the order in time": (
        "got 0 after 1 was acknowledged",
        [append(0, B, numbers=[1]), append(20, A, numbers=[0])],
        Final("s", "active", 2, 2, None, [(0, A), (1, B)]),
    ),
    "a low number that appears late": (
        "which an earlier read skipped",
        [
            append(0, A, numbers=[0], lasts=90),
            append(0, B, numbers=[1], client="w2"),
            read(20, B, first=1),
            read(40, A, B),
        ],
        Final("s", "active", 2, 2, None, [(0, A), (1, B)]),
    ),
    "a read with a gap": ("missed [1], but", [*EVENTS, replace(read(35), outcome={0: A, 2: C})], FINAL),
    "a read without an acknowledged message": ("which had been acknowledged", [*EVENTS, read(35, A, B)], FINAL),
    "a read with changed content": ("with different content", [*EVENTS, read(35, A, B, Line("?"))], FINAL),
    "an incomplete read after archive": ("something else than the final state", [*EVENTS, read(90, A, B, C)], FINAL),
    "appended after archive": (
        "appended after it was archived",
        [*EVENTS, append(60, Line("e"), numbers=[4])],
        changed(lines=[*FINAL.lines, (4, Line("e"))], next_sequence=5, message_count=5),
    ),
    "appended after a refusal": (
        "appended after it was archived",
        [append(0, A, numbers=[0]), archive(10, lasts=90), refused(20, Line("e")), append(40, B, numbers=[1])],
        Final("s", "archived", 2, 2, None, [(0, A), (1, B)]),
    ),
    "stored although refused": (
        "sent by no client",
        EVENTS,
        changed(lines=[*FINAL.lines, (4, Line("f"))], next_sequence=5, message_count=5),
    ),
    "refused too early": ("before anybody archived", [refused(0, Line("e")), *EVENTS], FINAL),
    "active after archive": (
        "was archived, but its final status is active",
        EVENTS,
        changed(status="active", cached=None),
    ),
    "removed after archive": (
        "removed after it was archived",
        [*EVENTS, Event("w1", "s", "remove_from", 3, 60, 70, 0)],
        FINAL,
    ),
    "a removal before the lost message": (
        "acknowledged as 1, but is not stored",
        [append(0, A, numbers=[0]), Event("w1", "s", "remove_from", 1, 20, 30, 0), append(40, B, numbers=[1])],
        Final("s", "active", 2, 1, None, [(0, A)]),
    ),
    "an incomplete cached list": ("but caches (", EVENTS, changed(cached=("x", "y"))),
    "a cached list in another order": ("but caches (", EVENTS, changed(cached=("y", "x", "z"))),
    "cached while active": ("but caches (", EVENTS[:7], changed(status="active", lines=FINAL.lines[:3])),
    "cached too early": ("cached, but the final", [*EVENTS, listed(20, "x", "y", "z", operation="cached")], FINAL),
    "a different list was cached": ("cached, but the final", [*EVENTS, listed(90, "x", operation="cached")], FINAL),
    "agents out of order": ("listed ('y', 'x')", [*EVENTS, listed(30, "y", "x")], FINAL),
    "a list without an acknowledged agent": ("listed ('x',), of", [*EVENTS, listed(30, "x")], FINAL),
    "an incomplete list after archive": (
        "listed ('x',) after it was archived",
        [append(0, A, numbers=[0]), archive(20), append(25, B, numbers=[1], lasts=90), listed(50, "x")],
        Final("s", "archived", 2, 2, None, [(0, A), (1, B)]),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name):
    expected, events, final = FAULTS[name]
    problems = check(events, [final]).problems
    assert any(expected in problem for problem in problems), problems


def test_lost_messages_are_counted():
    verdict = check(
        [*EVENTS, refused(30, Line("u"), error="ServerUnavailable")], [changed(lines=REST, message_count=3)]
    )
    assert (verdict.lost, verdict.gaps, verdict.unknown) == (1, 1, 1)
    assert check(EVENTS, [changed(lines=[*FINAL.lines, (4, A)])]).duplicated == 1


def test_unknown_outcomes_and_removals_are_no_faults():
    lost = refused(0, A, error="ServerUnavailable")
    unanswered = replace(append(50, C, numbers=None), returned_at=1 << 63)
    for stored in ([], [(0, A)], [(0, A), (1, C)]):
        assert check([lost, unanswered], [Final("s", "active", len(stored), len(stored), None, stored)]).problems == []
    removal = Event("w1", "s", "remove_from", 0, 5, 30, 1)
    kept = Final("s", "active", 2, 1, None, [(1, B)])
    assert (
        check([append(0, A, numbers=[0]), removal, append(40, B, numbers=[1]), read(60, B, first=1)], [kept]).problems
        == []
    )


# Real histories: each client of a run has its own operation, on its own connection.

RUN = {"writers": 4, "each": 25}


def names(run, sessions=3):
    return [f"run {run}, {n}" for n in range(sessions)]


class Client:
    """A client of a run, with a store of either side."""

    def __init__(self, store, name, run, history):
        self.store, self.name, self.run, self.history = store, name, run, history
        self.random = random.Random(f"{run} {name}")
        self.last = {}

    def event(self, session_id, operation, argument=None):
        return self.history.event(self.name, session_id, operation, argument)

    async def write(self):
        """Append to sessions, singly, in batches and repeatedly, until all of them are archived."""
        open_sessions = names(self.run)
        for n in count():
            if not open_sessions:
                return
            name = self.random.choice(open_sessions if n > RUN["each"] else names(self.run))
            try:
                await self.append(name, n)
            except dal.SessionArchived:
                open_sessions = [one for one in open_sessions if one != name]

    async def append(self, name, n):
        session = self.store.session(name)
        lines = [
            Line(f"{self.name} {n}.{k}", self.random.choice([None, "x", self.name, f"{self.name} {n}"]))
            for k in range(3)
        ]
        if n % 4 == 0:
            new = [dal.NewMessage(role="a", content=line.content, agent_id=line.agent_id) for line in lines]
            with self.event(name, "append", lines) as event:
                event.outcome = [message.sequence for message in await result_of(session.append_all(new))]
        line = Line(f"{self.name} {n}", lines[0].agent_id)
        for _ in range(2 if n % 5 == 0 else 1):
            with self.event(name, "append", [line]) as event:
                message = await result_of(
                    session.append("a", line.content, agent_id=line.agent_id, message_id=line.content)
                )
                event.outcome = [message.sequence]

    async def read(self):
        """Read until all sessions are archived."""
        archived = set()
        while len(archived) < len(names(self.run)):
            archived |= await self.read_all()

    async def read_all(self):
        """Read each session, in full or from the end of the last read, and its agents; return the archived ones."""
        archived = set()
        for name in names(self.run):
            session = self.store.session(name)
            after = self.random.choice((-1, self.last.get(name, -1)))
            with self.event(name, "read", after) as event:
                found = await result_of(session.messages(after=after, limit=100_000))
                event.outcome = {message.sequence: Line(message.content, message.agent_id) for message in found}
            self.last[name] = max(event.outcome, default=after)
            with self.event(name, "agent_ids") as event:
                event.outcome = await result_of(session.agent_ids())
            with suppress(dal.SessionNotFound), self.event(name, "cached") as event:
                record = await result_of(session.record())
                event.outcome = record.agent_ids
                archived |= {name} if record.status == "archived" else set()
        return archived

    async def archive(self):
        """Create the sessions, then read and archive them one after the other."""
        for name in names(self.run):
            with suppress(dal.SessionArchived):  # The other process may have archived it already.
                await self.append(name, 1)
        for name in names(self.run):
            for _ in range(RUN["each"] // 3):
                await self.read_all()
            with self.event(name, "archive") as event:
                event.outcome = bool(await result_of(self.store.session(name).archive()))
        await self.read_all()


async def result_of(value):
    return await value if asyncio.iscoroutine(value) else value


def clients(side):
    """Return the clients of a run: the operation and the name of each."""
    writers = [("write", f"{side} writer {n}") for n in range(RUN["writers"])]
    return [*writers, ("read", f"{side} reader 0"), ("read", f"{side} reader 1"), ("archive", f"{side} closer")]


def run_sync(coroutine):
    """Run a coroutine that never waits for an event loop, since its store is synchronous."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def in_threads(conninfo, options, run):
    history = History()
    start = threading.Barrier(len(clients("sync")))

    def run_client(client):
        operation, name = client
        with psycopg.connect(conninfo, **options) as connection:
            store = dal.SessionStore(connection)
            start.wait()
            run_sync(getattr(Client(store, name, run, history), operation)())

    with ThreadPoolExecutor(len(clients("sync"))) as threads:
        list(threads.map(run_client, clients("sync")))
    return history.events


def in_tasks(conninfo, options, run):
    history = History()

    async def run_client(operation, name):
        async with await psycopg.AsyncConnection.connect(conninfo, **options) as connection:
            await getattr(Client(dal.AsyncSessionStore(connection), name, run, history), operation)()

    async def run_all():
        await asyncio.gather(*(run_client(operation, name) for operation, name in clients("async")))

    asyncio.run(run_all())
    return history.events


def in_processes(conninfo, options, run):
    """Two processes, one of each side, in the same sessions."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, wait_for_start, [context.Barrier(2)]) as processes:
        sides = [processes.submit(side, conninfo, options, run) for side in (in_threads, in_tasks)]
        return [event for side in sides for event in side.result()]


def wait_for_start(barrier):
    barrier.wait(60)


@pytest.mark.parametrize("run_client", [in_threads, in_tasks, in_processes])
def test_a_real_history_passes(server, options, connection, figure, run_client):
    events, finals = [], []
    runs = 1 + settings().max_examples // (125 if run_client is in_processes else 25)
    for run in range(runs):
        events += run_client(server.conninfo, options, run)
        finals += [final_of(connection, name) for name in names(run)]
    verdict = check(events, finals)
    assert verdict.problems == []
    assert verdict.acknowledged > len(finals)
    assert verdict.refused >= RUN["writers"] * len(finals), "each writer was refused by each session"
    assert any(final.cached for final in finals)
    figure(
        f"history, {run_client.__name__.replace('_', ' ')}",
        f"{len(events):,} operations, {verdict.acknowledged:,} messages acknowledged, {verdict.refused:,} refused as "
        f"archived; {verdict.lost} lost, {verdict.duplicated} duplicated, {verdict.gaps} gaps",
    )
