"""The tasks of the demo, each done with the usual SQL and with session-dal."""

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
"""Messages to store at once in prepared sessions."""

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
    """A connection and a service for each side."""

    usual: psycopg.Connection
    ours: psycopg.Connection
    sizes: Sizes

    def __post_init__(self) -> None:
        self.service = Service(self.usual)
        self.store = SessionStore(self.ours)


def append(stage: Stage) -> Task:
    """Append messages to a session, one at a time."""
    service, store, count = stage.service, stage.store, stage.sizes.messages
    for session_id in ("usual", "usual-rehearsal"):
        service.open(session_id)
    session, rehearsal = store.session(), store.session()
    return Task(
        f"Append {count:,} messages to one session",
        (
            Way(
                "SELECT, count, INSERT, UPDATE",
                stage.usual,
                rehearse=lambda _: service.append("usual-rehearsal", "user", _TEXT),
                operate=lambda _: service.append("usual", "user", _TEXT),
                operations=count,
            ),
            Way(
                "session.append()",
                stage.ours,
                rehearse=lambda _: rehearsal.append("user", _TEXT),
                operate=lambda _: session.append("user", _TEXT),
                operations=count,
            ),
        ),
    )


def silence(stage: Stage) -> Task:
    """Open sessions that get no message."""
    service, store, count = stage.service, stage.store, stage.sizes.silent
    return Task(
        f"Open {stage.sizes.opened:,} sessions: {count:,} that never speak …",
        (
            Way(
                "INSERT at opening",
                stage.usual,
                rehearse=lambda n: service.open(f"silent-rehearsal-{n}"),
                operate=lambda n: service.open(f"silent-{n}"),
                operations=count,
            ),
            Way(
                "store.session()",
                stage.ours,
                rehearse=lambda _: store.session(),
                operate=lambda _: store.session(),
                operations=count,
            ),
        ),
    )


def first_words(stage: Stage) -> Task:
    """Open sessions that get a first message."""
    service, store, count = stage.service, stage.store, stage.sizes.opened - stage.sizes.silent

    def speak(session_id: str) -> None:
        service.open(session_id)
        service.append(session_id, "user", _TEXT)

    return Task(
        f"… and {count:,} in which something is said",
        (
            Way(
                "INSERT at opening, then as above",
                stage.usual,
                rehearse=lambda n: speak(f"speaking-rehearsal-{n}"),
                operate=lambda n: speak(f"speaking-{n}"),
                operations=count,
            ),
            Way(
                "store.session(), session.append()",
                stage.ours,
                rehearse=lambda _: store.session().append("user", _TEXT),
                operate=lambda _: store.session().append("user", _TEXT),
                operations=count,
            ),
        ),
    )


def agent_ids(stage: Stage) -> Task:
    """List the agents of archived sessions, once and repeatedly."""
    service, sizes = stage.service, stage.sizes
    archives = [_archive(stage.store, sizes.archived) for _ in range(sizes.archives)]
    little = [_archive(stage.store, len(_AGENTS)) for _ in range(REHEARSALS)]
    vacuum(stage.ours)  # As autovacuum does in a running service.
    scans, reads = 5, 50
    return Task(
        f"List the agents of an archived session of {sizes.archived:,} messages",
        (
            Way(
                "GROUP BY over its messages",
                stage.usual,
                rehearse=lambda n: service.agent_ids(little[n].id),
                operate=lambda n: service.agent_ids(archives[n // scans].id),
                operations=sizes.archives * scans,
            ),
            Way(
                "session.agent_ids(), first read",
                stage.ours,
                rehearse=lambda n: little[n].agent_ids(),
                operate=lambda n: archives[n].agent_ids(),
                operations=sizes.archives,
            ),
            Way(
                "session.agent_ids(), from then on",
                stage.ours,
                rehearse=lambda n: little[n].agent_ids(),
                operate=lambda n: archives[n // reads].agent_ids(),
                operations=sizes.archives * reads,
            ),
        ),
        # Each turn has one archived session, so that its first read comes before the others.
        turns=sizes.archives,
    )


ALL: dict[str, Callable[[Stage], Task]] = {
    "Append": append,
    "Silent sessions": silence,
    "First words": first_words,
    "Agent ids": agent_ids,
}
"""The tasks by their names in the progress display. The agents are last, when there are enough sessions for realistic
plans: the planner scans a table with a single session."""


def _archive(store: SessionStore, count: int) -> Session:
    """Store an archived session with messages of agents and, every sixth, of a user."""
    session = store.session()
    speakers = (*_AGENTS, None)
    for start in range(0, count, _CHUNK):
        session.append_all(
            NewMessage(role="assistant" if agent else "user", content=_TEXT, agent_id=agent)
            for agent in (speakers[n % len(speakers)] for n in range(start, min(start + _CHUNK, count)))
        )
    session.archive()
    return session
