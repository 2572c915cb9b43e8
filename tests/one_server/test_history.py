"""The checker of histories refuses what it must; and what many writers and readers really did passes it.

uv run pytest tests/one_server/test_history.py --hypothesis-profile=thorough goes on for longer.
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


def append(at, *lines, numbers, who="w1", lasts=10):
    return Event(who, "s", "append", list(lines), at, at + lasts, numbers)


def read(at, *lines, after=-1, first=0, who="r1"):
    return Event(who, "s", "read", after, at, at + 5, dict(enumerate(lines, first)))


def refused(at, *lines, error="SessionArchived", who="w2"):
    return Event(who, "s", "append", list(lines), at, at + 10, refused=error)


def archive(at, lasts=10):
    return Event("closer", "s", "archive", None, at, at + lasts, outcome=True)


def listed(at, *agents, verb="agent_ids"):
    return Event("r2", "s", verb, None, at, at + 5, agents)


GOOD = [
    append(0, A, numbers=[0]),
    append(5, B, C, numbers=[1, 2], who="w2", lasts=20),
    read(15, A),
    read(16, A, B, C, who="r2"),
    listed(30, "x", "y"),
    read(30, C, after=1, first=2, who="r3"),
    archive(40),
    append(45, D, numbers=[3]),  # Under way while it was archived.
    refused(46, Line("e")),
    listed(60, None, verb="cached"),
    append(70, A, numbers=[0], who="w3"),  # Sent again.
    refused(80, Line("f")),
    read(80, A, B, C, D),
    listed(81, "x", "y", "z"),
    listed(90, "x", "y", "z", verb="cached"),
]
GOOD[9].outcome = None
FINAL = Final("s", "archived", 4, 4, ("x", "y", "z"), list(enumerate([A, B, C, D])))


def but(final=FINAL, /, **changed):
    return replace(final, **changed)


def test_a_good_history_passes():
    verdict = check(GOOD, [FINAL])
    assert verdict.problems == []
    assert (verdict.acknowledged, verdict.refused, verdict.unknown) == (5, 2, 0)
    assert (verdict.lost, verdict.duplicated, verdict.gaps) == (0, 0, 0)


REST = [(1, B), (2, C), (3, D)]
BAD = {
    # name: (what the problem says, the events, what is stored in the end)
    "a gap": ("has no message [1]", GOOD, but(lines=[(0, A), (2, C), (3, D)])),
    "the last is gone": ("acknowledged as 3, and is not there", GOOD, but(lines=FINAL.lines[:3], message_count=3)),
    "a lost message": ("acknowledged as 0, and is not there", GOOD, but(lines=REST, message_count=3)),
    "a number beyond the counter": ("counts 4 and 3", GOOD, but(next_sequence=3)),
    "a wrong count": ("counts 3 and 4", GOOD, but(message_count=3)),
    "stored twice": (
        "'a' is stored 2 times",
        GOOD,
        but(lines=[*FINAL.lines, (4, A)], next_sequence=5, message_count=5),
    ),
    "one number for two": (
        "two messages of one number",
        [*GOOD, append(0, Line("e"), numbers=[3])],
        but(lines=[*FINAL.lines, (3, Line("e"))], message_count=5),
    ),
    "nobody's message": (
        "given by nobody",
        GOOD,
        but(lines=[*FINAL.lines, (4, Line("e"))], next_sequence=5, message_count=5),
    ),
    "an altered agent": ("given by nobody", GOOD, but(lines=[(0, Line("a", "y")), *REST])),
    "two answers for one": ("acknowledged as 0 and as 1", [*GOOD, append(71, A, numbers=[1])], FINAL),
    "a batch out of order": ("appended several", [append(0, B, A, numbers=[1, 0]), *GOOD], FINAL),
    "an order against time": (
        "got 0 after 1 was acknowledged",
        [append(0, B, numbers=[1]), append(20, A, numbers=[0])],
        Final("s", "active", 2, 2, None, [(0, A), (1, B)]),
    ),
    "a late low number": (
        "which an earlier read had not",
        [
            append(0, A, numbers=[0], lasts=90),
            append(0, B, numbers=[1], who="w2"),
            read(20, B, first=1),
            read(40, A, B),
        ],
        Final("s", "active", 2, 2, None, [(0, A), (1, B)]),
    ),
    "a read with a gap": ("read without [1]", [*GOOD, replace(read(35), outcome={0: A, 2: C})], FINAL),
    "a read without what is known": ("which had been acknowledged", [*GOOD, read(35, A, B)], FINAL),
    "a read of something else": ("with other content", [*GOOD, read(35, A, B, Line("?"))], FINAL),
    "less is read once archived": ("another thing than the final one", [*GOOD, read(90, A, B, C)], FINAL),
    "appended after archive": (
        "appended after it was archived",
        [*GOOD, append(60, Line("e"), numbers=[4])],
        but(lines=[*FINAL.lines, (4, Line("e"))], next_sequence=5, message_count=5),
    ),
    "appended after a refusal": (
        "appended after it was archived",
        [append(0, A, numbers=[0]), archive(10, lasts=90), refused(20, Line("e")), append(40, B, numbers=[1])],
        Final("s", "archived", 2, 2, None, [(0, A), (1, B)]),
    ),
    "refused and stored": (
        "given by nobody",
        GOOD,
        but(lines=[*FINAL.lines, (4, Line("f"))], next_sequence=5, message_count=5),
    ),
    "refused too early": ("before anyone archived", [refused(0, Line("e")), *GOOD], FINAL),
    "archived and active": ("was archived, and is active", GOOD, but(status="active", cached=None)),
    "removed after archive": (
        "removed after it was archived",
        [*GOOD, Event("w1", "s", "remove_from", 3, 60, 70, 0)],
        FINAL,
    ),
    "removed what came later": (
        "acknowledged as 1, and is not there",
        [append(0, A, numbers=[0]), Event("w1", "s", "remove_from", 1, 20, 30, 0), append(40, B, numbers=[1])],
        Final("s", "active", 2, 1, None, [(0, A)]),
    ),
    "a cached list that is not final": ("stores the agents", GOOD, but(cached=("x", "y"))),
    "a cached list in another order": ("stores the agents", GOOD, but(cached=("y", "x", "z"))),
    "cached while active": ("stores the agents", GOOD[:7], but(status="active", lines=FINAL.lines[:3])),
    "cached too early": ("stored, and the final", [*GOOD, listed(20, "x", "y", "z", verb="cached")], FINAL),
    "another was cached": ("stored, and the final", [*GOOD, listed(90, "x", verb="cached")], FINAL),
    "agents out of order": ("listed ('y', 'x')", [*GOOD, listed(30, "y", "x")], FINAL),
    "agents without one that is known": ("listed ('x',), of", [*GOOD, listed(30, "x")], FINAL),
    "too few agents once archived": (
        "listed ('x',) after it was archived",
        [append(0, A, numbers=[0]), archive(20), append(25, B, numbers=[1], lasts=90), listed(50, "x")],
        Final("s", "archived", 2, 2, None, [(0, A), (1, B)]),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_refused(name):
    told, events, final = BAD[name]
    problems = check(events, [final]).problems
    assert any(told in problem for problem in problems), problems


def test_what_was_lost_is_counted():
    verdict = check([*GOOD, refused(30, Line("u"), error="ServerUnavailable")], [but(lines=REST, message_count=3)])
    assert (verdict.lost, verdict.gaps, verdict.unknown) == (1, 1, 1)
    assert check(GOOD, [but(lines=[*FINAL.lines, (4, A)])]).duplicated == 1


def test_an_unknown_outcome_may_be_either_and_what_was_removed_may_be_gone():
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


# What really happens: each takes part in a run with verbs of its own, on a connection of its own.

RUN = {"writers": 4, "each": 25}


def names(run, sessions=3):
    return [f"run {run}, {n}" for n in range(sessions)]


class Part:
    """One who takes part, with a store of either side."""

    def __init__(self, store, who, run, history):
        self.store, self.who, self.run, self.history = store, who, run, history
        self.random = random.Random(f"{run} {who}")
        self.last = {}

    def event(self, name, verb, given=None):
        return self.history.event(self.who, name, verb, given)

    async def write(self):
        """Append to sessions, singly, several at once and once again, until all of them are archived."""
        open_ones = names(self.run)
        for n in count():
            if not open_ones:
                return
            name = self.random.choice(open_ones if n > RUN["each"] else names(self.run))
            try:
                await self.append(name, n)
            except dal.SessionArchived:
                open_ones = [one for one in open_ones if one != name]

    async def append(self, name, n):
        session = self.store.session(name)
        lines = [
            Line(f"{self.who} {n}.{k}", self.random.choice([None, "x", self.who, f"{self.who} {n}"])) for k in range(3)
        ]
        if n % 4 == 0:
            new = [dal.NewMessage(role="a", content=line.content, agent_id=line.agent_id) for line in lines]
            with self.event(name, "append", lines) as event:
                event.outcome = [message.sequence for message in await wait(session.append_all(new))]
        line = Line(f"{self.who} {n}", lines[0].agent_id)
        for _ in range(2 if n % 5 == 0 else 1):
            with self.event(name, "append", [line]) as event:
                message = await wait(session.append("a", line.content, agent_id=line.agent_id, message_id=line.content))
                event.outcome = [message.sequence]

    async def read(self):
        """Read until all sessions are archived."""
        archived = set()
        while len(archived) < len(names(self.run)):
            archived |= await self.look()

    async def look(self):
        """Read whole, or on from where the last read ended, and the agents; return what was archived."""
        archived = set()
        for name in names(self.run):
            session = self.store.session(name)
            after = self.random.choice((-1, self.last.get(name, -1)))
            with self.event(name, "read", after) as event:
                found = await wait(session.messages(after=after, limit=100_000))
                event.outcome = {message.sequence: Line(message.content, message.agent_id) for message in found}
            self.last[name] = max(event.outcome, default=after)
            with self.event(name, "agent_ids") as event:
                event.outcome = await wait(session.agent_ids())
            with suppress(dal.SessionNotFound), self.event(name, "cached") as event:
                record = await wait(session.record())
                event.outcome = record.agent_ids
                archived |= {name} if record.status == "archived" else set()
        return archived

    async def archive(self):
        """Begin the sessions, read on, and archive one after the other."""
        for name in names(self.run):
            with suppress(dal.SessionArchived):  # The other process may be that far already.
                await self.append(name, 1)
        for name in names(self.run):
            for _ in range(RUN["each"] // 3):
                await self.look()
            with self.event(name, "archive") as event:
                event.outcome = bool(await wait(self.store.session(name).archive()))
        await self.look()


async def wait(value):
    return await value if asyncio.iscoroutine(value) else value


def parts(side):
    """Who takes part in a run: the verb, and a name."""
    writers = [("write", f"{side} writer {n}") for n in range(RUN["writers"])]
    return [*writers, ("read", f"{side} reader 0"), ("read", f"{side} reader 1"), ("archive", f"{side} closer")]


def at_once(coroutine):
    """Run what never waits for a loop, as on the synchronous side."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def in_threads(conninfo, options, run):
    history = History()
    start = threading.Barrier(len(parts("sync")))

    def take_part(part):
        verb, who = part
        with psycopg.connect(conninfo, **options) as connection:
            store = dal.SessionStore(connection)
            start.wait()
            at_once(getattr(Part(store, who, run, history), verb)())

    with ThreadPoolExecutor(len(parts("sync"))) as threads:
        list(threads.map(take_part, parts("sync")))
    return history.events


def in_tasks(conninfo, options, run):
    history = History()

    async def take_part(verb, who):
        async with await psycopg.AsyncConnection.connect(conninfo, **options) as connection:
            await getattr(Part(dal.AsyncSessionStore(connection), who, run, history), verb)()

    async def all_of_them():
        await asyncio.gather(*(take_part(verb, who) for verb, who in parts("async")))

    asyncio.run(all_of_them())
    return history.events


def in_processes(conninfo, options, run):
    """Two processes, one of each side, in the same sessions."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, begin_together, [context.Barrier(2)]) as processes:
        sides = [processes.submit(side, conninfo, options, run) for side in (in_threads, in_tasks)]
        return [event for side in sides for event in side.result()]


def begin_together(barrier):
    barrier.wait(60)


@pytest.mark.parametrize("take_part", [in_threads, in_tasks, in_processes])
def test_what_really_happened_passes(server, options, connection, figure, take_part):
    events, finals = [], []
    runs = 1 + settings().max_examples // (125 if take_part is in_processes else 25)
    for run in range(runs):
        events += take_part(server.conninfo, options, run)
        finals += [final_of(connection, name) for name in names(run)]
    verdict = check(events, finals)
    assert verdict.problems == []
    assert verdict.acknowledged > len(finals)
    assert verdict.refused >= RUN["writers"] * len(finals), "each writer came too late for each session"
    assert any(final.cached for final in finals)
    figure(
        f"history, {take_part.__name__.replace('_', ' ')}",
        f"{len(events):,} operations, {verdict.acknowledged:,} messages acknowledged, {verdict.refused:,} refused as "
        f"archived; {verdict.lost} lost, {verdict.duplicated} duplicated, {verdict.gaps} gaps",
    )
