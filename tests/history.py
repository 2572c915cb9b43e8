"""Check the history of concurrent writers and readers of sessions against the library's guarantees.

Each client records an Event for each operation, around the call itself:

    history = History()
    with history.event("writer 1", "s", "append", [Line("hello", "planner")]) as event:
        event.outcome = session.append("assistant", "hello", agent_id="planner").sequence,

An exception passes through the block, and its name is recorded as `refused`. Without an outcome it is unknown
whether the operation happened, for example after a lost reply. At the end, `final_of` reads the stored state, and

    verdict = check(history.events, finals)
    assert not verdict.problems

`check` is a pure function. Within a session, lines are identified by their content, so each must be unique (a
retry sends the same line again). All times must come from one clock, such as time.monotonic_ns, which the
processes of one machine share. A session that is deleted meanwhile cannot be checked.

It verifies, for each session:
- an acknowledged message is stored exactly once, with its number and its agent; any other message at most once;
  and every stored message was sent by a client;
- numbers have no gaps except from removals, at the end and in every read;
- if a message was acknowledged before another was begun, it has the lower number;
- a read shows every message acknowledged before it began, and never a message that an earlier read skipped
  although it showed later ones;
- after the session is known to be archived, no append or removal begins and succeeds, and every read equals the
  final state; before anybody begins to archive it, nothing is refused as archived;
- a list of agents is a prefix of the final list, and includes the agents of all messages acknowledged before;
  the list cached on the session's row always equals the final one.
"""

import time
from bisect import bisect_left
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

NEVER = 1 << 63


class Line(NamedTuple):
    """A message as sent or read, identified by its content."""

    content: str
    agent_id: str | None = None


@dataclass
class Event:
    """One operation of one client.

    operation    argument                                  outcome
    append       the lines                                 their numbers
    remove_from  the first number                          the number of removed messages
    archive      -                                         True
    read         the number after which it reads, or -1    {number: line}, of all later messages
    agent_ids    -                                         the agents
    cached       -                                         the agents on the session's row, or None
    """

    client: str
    session_id: str
    operation: str
    argument: Any
    invoked_at: int
    returned_at: int = NEVER
    outcome: Any = None
    refused: str | None = None
    """The name of the error. Only SessionArchived is a refusal; after any other error the outcome is unknown."""

    @property
    def acknowledged(self):
        return self.returned_at < NEVER and self.refused is None

    @property
    def is_archived(self):
        return self.refused == "SessionArchived"


@dataclass
class Final:
    """The final stored state of a session."""

    session_id: str
    status: str
    next_sequence: int
    message_count: int
    cached: tuple[str, ...] | None
    lines: list[tuple[int, Line]]

    def agents(self):
        return tuple(dict.fromkeys(line.agent_id for _, line in sorted(self.lines) if line.agent_id is not None))


@dataclass
class Verdict:
    """The result of a check; the counters count messages."""

    acknowledged: int = 0
    unknown: int = 0
    refused: int = 0
    lost: int = 0
    duplicated: int = 0
    gaps: int = 0
    problems: list[str] = field(default_factory=list)


class History:
    """Collects events. Each process has its own instance; their events are merged at the end."""

    def __init__(self):
        self.events = []

    @contextmanager
    def event(self, client, session_id, operation, argument=None):
        event = Event(client, session_id, operation, argument, time.monotonic_ns())
        try:
            yield event
            event.returned_at = time.monotonic_ns()
        except BaseException as error:
            event.refused = type(error).__name__
            if event.is_archived:
                event.returned_at = time.monotonic_ns()
            raise
        finally:
            self.events.append(event)  # A list's append is atomic among threads.


def final_of(connection, session_id):
    """Read the stored state of a session, without the library."""
    found = connection.execute(
        "SELECT status, next_sequence, message_count, agent_ids FROM sessions WHERE session_id = %s", [session_id]
    ).fetchone()
    status, next_sequence, message_count, cached = found or ("none", 0, 0, None)
    lines = connection.execute(
        "SELECT sequence, content, agent_id FROM messages WHERE session_id = %s ORDER BY sequence", [session_id]
    ).fetchall()
    lines = [(sequence, Line(content, agent_id)) for sequence, content, agent_id in lines]
    return Final(session_id, status, next_sequence, message_count, None if cached is None else tuple(cached), lines)


def check(events, finals):
    """Check all sessions of a history; return one verdict."""
    verdict = Verdict()
    by_session = {final.session_id: [] for final in finals}
    for event in events:
        by_session[event.session_id].append(event)
    for final in finals:
        _Session(by_session[final.session_id], final, verdict).check()
    return verdict


@dataclass
class _Message:
    """All appends of one line: its number was assigned between `begun` and `acknowledged`."""

    line: Line
    begun: int
    acknowledged: int = NEVER
    number: int | None = None


class _Session:
    """The history of one session."""

    def __init__(self, events, final, verdict):
        self.final = final
        self.verdict = verdict
        self.events = sorted(events, key=lambda event: event.invoked_at)
        self.removals = [e for e in self.events if e.operation == "remove_from" and not e.is_archived]
        self.removed_from = min((event.argument for event in self.removals), default=NEVER)
        self.messages = {}
        """By content; `acknowledged` holds the acknowledged ones, in that order."""
        self.acknowledged, self.highest = [], []
        self.archive_begun, self.archived_by = NEVER, NEVER

    def check(self):
        self.check_archiving()
        self.collect_messages()
        self.check_stored()
        self.check_order()
        self.check_reads()
        self.check_agents()

    def add_problem(self, text):
        self.verdict.problems.append(f"{self.final.session_id}: {text}")

    def check_archiving(self):
        """Archived is final, from the moment when a client could know it."""
        for event in self.events:
            if event.operation == "archive":
                self.archive_begun = min(self.archive_begun, event.invoked_at)
            if event.is_archived or (event.operation == "archive" and event.acknowledged):
                self.archived_by = min(self.archived_by, event.returned_at)
        for event in self.events:
            if event.is_archived and event.returned_at < self.archive_begun:
                self.add_problem(f"{event.client} was refused before anybody archived")
            if event.operation == "remove_from" and event.acknowledged and event.invoked_at > self.archived_by:
                self.add_problem(f"{event.client} removed after it was archived")
        if self.archived_by < NEVER and self.final.status != "archived":
            self.add_problem(f"was archived, but its final status is {self.final.status}")

    def collect_messages(self):
        """Merge the appends of each line into one message."""
        for event in self.events:
            if event.operation != "append":
                continue
            count = "acknowledged" if event.acknowledged else "refused" if event.is_archived else "unknown"
            setattr(self.verdict, count, getattr(self.verdict, count) + len(event.argument))
            if event.acknowledged and list(event.outcome) != sorted(event.outcome):
                self.add_problem(
                    f"{event.client} appended several messages, and their numbers are not in order: {event.outcome}"
                )
            if event.is_archived:
                continue
            numbers = event.outcome if event.acknowledged else [None] * len(event.argument)
            for line, number in zip(event.argument, numbers, strict=True):
                message = self.messages.setdefault(line.content, _Message(line, event.invoked_at))
                if number is None:
                    continue
                message.acknowledged = min(message.acknowledged, event.returned_at)
                if message.number not in {None, number}:
                    self.add_problem(f"{line.content!r} was acknowledged as {message.number} and as {number}")
                message.number = number
        self.acknowledged = sorted(
            (m for m in self.messages.values() if m.number is not None), key=lambda m: m.acknowledged
        )
        for message in self.acknowledged:
            if message.begun > self.archived_by:
                self.add_problem(f"{message.line.content!r} was appended after it was archived")

    def check_stored(self):
        """Every acknowledged message is stored once, nothing else is stored, and there are no gaps."""
        stored = dict(self.final.lines)
        for content, count in Counter(line.content for _, line in self.final.lines).items():
            if count > 1:
                self.verdict.duplicated += count - 1
                self.add_problem(f"{content!r} is stored {count} times")
        for line in stored.values():
            if line.content not in self.messages or self.messages[line.content].line != line:
                self.add_problem(f"{line} was sent by no client")
        for message in self.acknowledged:
            if stored.get(message.number) != message.line and not self.is_removed(message.number, message.begun):
                self.verdict.lost += 1
                self.add_problem(f"{message.line.content!r} was acknowledged as {message.number}, but is not stored")
        gaps = [n for n in range(self.final.next_sequence) if n not in stored and n < self.removed_from]
        self.verdict.gaps += len(gaps)
        if gaps:
            self.add_problem(f"has no message {gaps[:5]}")
        if len(self.final.lines) != len(stored):
            self.add_problem("two messages have the same number")
        if self.final.message_count != len(self.final.lines) or max(stored, default=-1) >= self.final.next_sequence:
            self.add_problem(
                f"message_count is {self.final.message_count} and next_sequence {self.final.next_sequence}, "
                f"but {len(stored)} messages are stored"
            )

    def check_order(self):
        """A message acknowledged before another was begun has the lower number."""
        highest, position = -1, 0
        for message in sorted(self.acknowledged, key=lambda message: message.begun):
            while self.acknowledged[position].acknowledged < message.begun:
                highest = max(highest, self.acknowledged[position].number)
                position += 1
            if message.number < highest:
                self.add_problem(f"{message.line.content!r} got {message.number} after {highest} was acknowledged")

    def check_reads(self):
        """Each read shows all acknowledged messages, and no message that an earlier read skipped."""
        reads = [event for event in self.events if event.operation == "read" and event.acknowledged]
        self.highest = list(accumulate(self.acknowledged, lambda one, other: max(one, other, key=lambda m: m.number)))
        for read in reads:
            self.check_read(read)
        ended = sorted(reads, key=lambda read: read.returned_at)
        position, seen, skipped = 0, {}, set()
        for read in reads:
            while ended[position].returned_at < read.invoked_at:
                seen |= ended[position].outcome
                skipped |= self.gaps_of(ended[position])
                position += 1
            if late := skipped & read.outcome.keys():
                self.add_problem(
                    f"{read.client} saw {sorted(late)[:5]}, which an earlier read skipped although it saw later ones"
                )
            changed = [n for n, line in read.outcome.items() if seen.get(n, line) != line]
            if changed:
                self.add_problem(f"{read.client} saw {changed[:5]} with different content than before")

    def check_read(self, read):
        gaps = [n for n in self.gaps_of(read) if not self.is_removed(n, 0, read.returned_at)]
        if gaps:
            self.add_problem(f"{read.client} missed {gaps[:5]}, but saw later ones")
        count = bisect_left(self.acknowledged, read.invoked_at, key=lambda message: message.acknowledged)
        # Without removals there are no gaps, so a read that has the highest number has them all.
        for message in self.acknowledged[:count] if self.removals else self.highest[:count][-1:]:
            absent = message.number > read.argument and message.number not in read.outcome
            if absent and not self.is_removed(message.number, message.begun, read.returned_at):
                self.add_problem(f"{read.client} missed {message.line.content!r}, which had been acknowledged")
        expected = {n: line for n, line in self.final.lines if n > read.argument}
        if read.invoked_at > self.archived_by and read.outcome != expected:
            self.add_problem(f"{read.client} read something else than the final state, after it was archived")

    def gaps_of(self, read):
        return set(range(read.argument + 1, max(read.outcome, default=-1))) - read.outcome.keys()

    def check_agents(self):
        """Lists are prefixes of the final one with all acknowledged agents; the cached one is the final one."""
        final, first = self.final.agents(), {}
        for message in self.acknowledged:
            first.setdefault(message.line.agent_id, message.acknowledged)
        first.pop(None, None)
        if self.final.cached is not None and (self.final.cached != final or self.final.status != "archived"):
            self.add_problem(
                f"has the agents {final}, but caches {self.final.cached}; its status is {self.final.status}"
            )
        for event in self.events:
            cached = event.outcome if event.operation == "cached" else None
            if cached is not None and (tuple(cached) != final or event.returned_at < self.archive_begun):
                self.add_problem(f"{event.client} saw the agents {cached} cached, but the final ones are {final}")
            if event.operation == "agent_ids" and event.acknowledged and not self.removals:
                listed = tuple(event.outcome)
                acknowledged = {agent_id for agent_id, since in first.items() if since < event.invoked_at}
                if listed != final[: len(listed)] or not acknowledged <= set(listed):
                    self.add_problem(f"{event.client} listed {listed}, of {final}")
                if event.invoked_at > self.archived_by and listed != final:
                    self.add_problem(
                        f"{event.client} listed {listed} after it was archived, but the final ones are {final}"
                    )

    def is_removed(self, number, begun, by=NEVER):
        """Return whether a removal may have deleted, before `by`, a message that was begun at `begun`."""
        if number < self.removed_from:
            return False
        return any(e.argument <= number and e.returned_at > begun and e.invoked_at < by for e in self.removals)
