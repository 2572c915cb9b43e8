"""The tasks of the demo, each with the usual SQL and with session-dal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from dal._sync.session import Session
from dal._sync.store import SessionStore
from dal.demo.meter import REHEARSALS, Way
from dal.demo.usual import Service
from dal.gate.measure.scratch import vacuum
from dal.records import NewMessage

_TEXT = "The build is green again: the timeout was the test's own, and I have raised it to what the server needs. " * 2
_AGENTS = ("planner", "researcher", "coder", "reviewer", "writer")
_CHUNK = 1000
"""Messages to store at once when a session is prepared."""

_TURNS = 20


@dataclass(frozen=True)
class Sizes:
    """The sizes of the tasks."""

    messages: int
    archived: int
    """Messages in an archived session."""
    archives: int
    """Archived sessions of that size, to measure several first reads."""
    opened: int
    silent: int
    """Opened sessions without a message."""


FULL = Sizes(messages=2_000, archived=10_000, archives=5, opened=10_985, silent=3_564)
QUICK = Sizes(messages=200, archived=1_000, archives=3, opened=1_000, silent=324)


@dataclass(frozen=True)
class Task:
    """A task and the ways to do it; the last one is the baseline."""

    title: str
    ways: tuple[Way, ...]
    turns: int = _TURNS


@dataclass
class Stage:
    """The connections, the usual service and our store."""

    usual: psycopg.Connection
    ours: psycopg.Connection
    sizes: Sizes

    def __post_init__(self) -> None:
        self.service = Service(self.usual)
        self.store = SessionStore(self.ours)


def append(stage: Stage) -> Task:
    """Append messages to a session, one at a time."""
    service, count = stage.service, stage.sizes.messages
    names = ("usual", "usual-rehearsal")  # Of the sessions: the second one is for rehearsals, as below.
    for name in names:
        service.open(name)
    sessions = (stage.store.session(), stage.store.session())

    def usual(n: int) -> None:
        service.append(names[n < 0], "user", _TEXT)

    return Task(
        f"Append {count:,} messages to one session",
        (
            Way("SELECT, count, INSERT, UPDATE", stage.usual, count, usual),
            Way("session.append()", stage.ours, count, lambda n: sessions[n < 0].append("user", _TEXT)),
        ),
    )


def silence(stage: Stage) -> Task:
    """Open sessions that get no message."""
    count = stage.sizes.silent
    return Task(
        f"Open {stage.sizes.opened:,} sessions: {count:,} that get no message …",
        (
            Way("INSERT at opening", stage.usual, count, lambda n: stage.service.open(f"silent-{n}")),
            Way("store.session()", stage.ours, count, lambda _: stage.store.session()),
        ),
    )


def first_words(stage: Stage) -> Task:
    """Open sessions that get a first message."""
    service, store, count = stage.service, stage.store, stage.sizes.opened - stage.sizes.silent

    def usual(n: int) -> None:
        service.open(f"speaking-{n}")
        service.append(f"speaking-{n}", "user", _TEXT)

    return Task(
        f"… and {count:,} that get one",
        (
            Way("INSERT at opening, then as above", stage.usual, count, usual),
            Way(
                "store.session(), session.append()", stage.ours, count, lambda _: store.session().append("user", _TEXT)
            ),
        ),
    )


def agent_ids(stage: Stage) -> Task:
    """List the agents of archived sessions, once and repeatedly."""
    service, sizes = stage.service, stage.sizes
    archives = [_archive(stage.store, sizes.archived) for _ in range(sizes.archives)]
    small = [_archive(stage.store, len(_AGENTS)) for _ in range(REHEARSALS)]
    vacuum(stage.ours)  # As autovacuum does in a running service.
    scans, reads = 5, 50

    def archive(n: int, each: int) -> Session:
        """Return the session of the n-th operation, if each session has so many."""
        return small[n] if n < 0 else archives[n // each]

    return Task(
        f"List the agents of an archived session of {sizes.archived:,} messages",
        (
            Way(
                "GROUP BY over its messages",
                stage.usual,
                sizes.archives * scans,
                lambda n: service.agent_ids(archive(n, scans).id),
            ),
            Way("session.agent_ids(), first read", stage.ours, sizes.archives, lambda n: archive(n, 1).agent_ids()),
            Way(
                "session.agent_ids(), later reads",
                stage.ours,
                sizes.archives * reads,
                lambda n: archive(n, reads).agent_ids(),
            ),
        ),
        # Each turn has one archived session, so that its first read precedes the others.
        turns=sizes.archives,
    )


ALL: dict[str, Callable[[Stage], Task]] = {
    "Append": append,
    "Silent sessions": silence,
    "First words": first_words,
    "Agent ids": agent_ids,
}
"""The tasks by their names in the progress display. The agents are last: with enough sessions for realistic plans, the
planner does not scan the table."""


def _archive(store: SessionStore, count: int) -> Session:
    """Store an archived session with messages of agents and, as every sixth, of a user."""
    session = store.session()
    speakers = (*_AGENTS, None)
    for start in range(0, count, _CHUNK):
        session.append_all(
            NewMessage(role="assistant" if agent else "user", content=_TEXT, agent_id=agent)
            for agent in (speakers[n % len(speakers)] for n in range(start, min(start + _CHUNK, count)))
        )
    session.archive()
    return session
