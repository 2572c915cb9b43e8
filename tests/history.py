"""Checks the history of concurrent writers and readers of sessions against what the library promises.

Whoever takes part notes an Event for each operation, around the call itself:

    history = History()
    with history.event("writer 1", "s", "append", [Line("hello", "planner")]) as event:
        event.outcome = session.append("assistant", "hello", agent_id="planner").sequence,

A refusal leaves the block as its exception and is noted as its name; without an outcome nobody knows whether it
happened, as with an answer that was lost. At the end, `final_of` reads what is stored, and

    verdict = check(history.events, finals)
    assert not verdict.problems

`check` is a pure function. Every line that is given must be unlike all others of its session (sent again, it is
the same one), since its content is how it is recognised. Times are of one clock, such as time.monotonic_ns,
which the processes of one machine share. A session that is deleted under way cannot be checked.

What it verifies, for each session:
- a message that was acknowledged is stored, once, with its number and its agent; one that was not is stored once
  or not at all, and what is stored was given by someone;
- numbers have no gap but where a removal made one, in the end and in every read;
- of two messages, the one that was acknowledged before the other was begun has the lower number;
- a read shows all that was acknowledged before it began, and nothing below a number that an earlier read has
  shown without it;
- nothing is acknowledged, or removed, that was begun after the session was known to be archived, nor refused as
  archived before anyone began to archive it; what is read from then on is what is there in the end;
- the agents that are listed are the first so many of the final list, with those of all messages that were
  acknowledged before; the list that is stored on the session's row is never anything but the final one.
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
    """A message as it is given or read: its content is how it is recognised."""

    content: str
    agent_id: str | None = None


@dataclass
class Event:
    """One operation of one who takes part.

    verb         given                                     outcome
    append       the lines                                 their numbers
    remove_from  the first number                          how many were removed
    archive      -                                         True
    read         the number after which it reads, or -1    {number: line}, of all that follow
    agent_ids    -                                         the agents
    cached       -                                         the agents on the session's row, or None
    """

    who: str
    session_id: str
    verb: str
    given: Any
    invoked_at: int
    returned_at: int = NEVER
    outcome: Any = None
    refused: str | None = None
    """The name of the error; SessionArchived is a refusal, and any other leaves open what happened."""

    @property
    def acknowledged(self):
        return self.returned_at < NEVER and self.refused is None

    @property
    def is_archived(self):
        return self.refused == "SessionArchived"


@dataclass
class Final:
    """What is stored of a session in the end."""

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
    """What was found; the counters are of messages."""

    acknowledged: int = 0
    unknown: int = 0
    refused: int = 0
    lost: int = 0
    duplicated: int = 0
    gaps: int = 0
    problems: list[str] = field(default_factory=list)


class History:
    """Collects events; an instance for each process, whose events are put together at the end."""

    def __init__(self):
        self.events = []

    @contextmanager
    def event(self, who, session_id, verb, given=None):
        event = Event(who, session_id, verb, given, time.monotonic_ns())
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
    """Read what is stored of a session, past the library."""
    found = connection.execute(
        "SELECT status, next_sequence, message_count, agent_ids FROM sessions WHERE session_id = %s", [session_id]
    ).fetchone()
    status, next_sequence, message_count, cached = found or ("none", 0, 0, None)
    lines = connection.execute(
        "SELECT sequence, content, agent_id FROM messages WHERE session_id = %s ORDER BY sequence", [session_id]
    ).fetchall()
    lines = [(sequence, Line(content, agent_id)) for sequence, content, agent_id in lines]
    return Final(session_id, status, next_sequence, message_count, cached and tuple(cached), lines)


def check(events, finals):
    """Check all sessions of a history; return the verdict on all."""
    verdict = Verdict()
    by_session = {final.session_id: [] for final in finals}
    for event in events:
        by_session[event.session_id].append(event)
    for final in finals:
        _Session(by_session[final.session_id], final, verdict).check()
    return verdict


@dataclass
class _Message:
    """All appends of one line: its number was given out between `begun` and `known`."""

    line: Line
    begun: int
    known: int = NEVER
    number: int | None = None


class _Session:
    """The history of one session."""

    def __init__(self, events, final, verdict):
        self.final = final
        self.verdict = verdict
        self.events = sorted(events, key=lambda event: event.invoked_at)
        self.removals = [e for e in self.events if e.verb == "remove_from" and not e.is_archived]
        self.removed_from = min((event.given for event in self.removals), default=NEVER)
        self.messages = {}
        """What was given, by content; `known` are those that were acknowledged, in that order."""
        self.known, self.highest = [], []
        self.archive_begun, self.archived_by = NEVER, NEVER

    def check(self):
        self.archiving()
        self.acknowledgements()
        self.what_is_stored()
        self.order()
        self.reads()
        self.agents()

    def problem(self, text):
        self.verdict.problems.append(f"{self.final.session_id}: {text}")

    def archiving(self):
        """Archived is final, from when anyone could know."""
        for event in self.events:
            if event.verb == "archive":
                self.archive_begun = min(self.archive_begun, event.invoked_at)
            if event.is_archived or (event.verb == "archive" and event.acknowledged):
                self.archived_by = min(self.archived_by, event.returned_at)
        for event in self.events:
            if event.is_archived and event.returned_at < self.archive_begun:
                self.problem(f"{event.who} was refused before anyone archived")
            if event.verb == "remove_from" and event.acknowledged and event.invoked_at > self.archived_by:
                self.problem(f"{event.who} removed after it was archived")
        if self.archived_by < NEVER and self.final.status != "archived":
            self.problem(f"was archived, and is {self.final.status}")

    def acknowledgements(self):
        """Put together the appends of each line."""
        for event in self.events:
            if event.verb != "append":
                continue
            count = "acknowledged" if event.acknowledged else "refused" if event.is_archived else "unknown"
            setattr(self.verdict, count, getattr(self.verdict, count) + len(event.given))
            if event.acknowledged and list(event.outcome) != sorted(event.outcome):
                self.problem(f"{event.who} appended several, whose numbers are {event.outcome}")
            if event.is_archived:
                continue
            numbers = event.outcome if event.acknowledged else [None] * len(event.given)
            for line, number in zip(event.given, numbers, strict=True):
                message = self.messages.setdefault(line.content, _Message(line, event.invoked_at))
                if number is None:
                    continue
                message.known = min(message.known, event.returned_at)
                if message.number not in {None, number}:
                    self.problem(f"{line.content!r} was acknowledged as {message.number} and as {number}")
                message.number = number
        self.known = sorted((m for m in self.messages.values() if m.number is not None), key=lambda m: m.known)
        for message in self.known:
            if message.begun > self.archived_by:
                self.problem(f"{message.line.content!r} was appended after it was archived")

    def what_is_stored(self):
        """All that was acknowledged, once, and nothing that nobody gave; without gaps."""
        stored = dict(self.final.lines)
        for content, count in Counter(line.content for _, line in self.final.lines).items():
            if count > 1:
                self.verdict.duplicated += count - 1
                self.problem(f"{content!r} is stored {count} times")
        for line in stored.values():
            if line.content not in self.messages or self.messages[line.content].line != line:
                self.problem(f"{line} was given by nobody")
        for message in self.known:
            if stored.get(message.number) != message.line and not self.is_removed(message.number, message.begun):
                self.verdict.lost += 1
                self.problem(f"{message.line.content!r} was acknowledged as {message.number}, and is not there")
        gaps = [n for n in range(self.final.next_sequence) if n not in stored and n < self.removed_from]
        self.verdict.gaps += len(gaps)
        if gaps:
            self.problem(f"has no message {gaps[:5]}")
        if len(self.final.lines) != len(stored):
            self.problem("has two messages of one number")
        if self.final.message_count != len(self.final.lines) or max(stored, default=-1) >= self.final.next_sequence:
            self.problem(f"counts {self.final.message_count} and {self.final.next_sequence}, of {len(stored)} messages")

    def order(self):
        """The lower number for what was acknowledged before the other was begun."""
        highest, place = -1, 0
        for message in sorted(self.known, key=lambda message: message.begun):
            while self.known[place].known < message.begun:
                highest = max(highest, self.known[place].number)
                place += 1
            if message.number < highest:
                self.problem(f"{message.line.content!r} got {message.number} after {highest} was acknowledged")

    def reads(self):
        """Each read shows all that is known, and nothing new below what an earlier one showed."""
        reads = [event for event in self.events if event.verb == "read" and event.acknowledged]
        self.highest = list(accumulate(self.known, lambda one, other: max(one, other, key=lambda m: m.number)))
        for read in reads:
            self.one_read(read)
        ended = sorted(reads, key=lambda read: read.returned_at)
        place, seen, missed = 0, {}, set()
        for read in reads:
            while ended[place].returned_at < read.invoked_at:
                seen |= ended[place].outcome
                missed |= self.gaps_of(ended[place])
                place += 1
            if late := missed & read.outcome.keys():
                self.problem(
                    f"{read.who} saw {sorted(late)[:5]}, which an earlier read had not, though it saw later ones"
                )
            changed = [n for n, line in read.outcome.items() if seen.get(n, line) != line]
            if changed:
                self.problem(f"{read.who} saw {changed[:5]} with other content than before")

    def one_read(self, read):
        gaps = [n for n in self.gaps_of(read) if not self.is_removed(n, 0, read.returned_at)]
        if gaps:
            self.problem(f"{read.who} read without {gaps[:5]}, and saw later ones")
        known = bisect_left(self.known, read.invoked_at, key=lambda message: message.known)
        # Without a gap, whoever has the highest has all.
        for message in self.known[:known] if self.removals else self.highest[:known][-1:]:
            absent = message.number > read.given and message.number not in read.outcome
            if absent and not self.is_removed(message.number, message.begun, read.returned_at):
                self.problem(f"{read.who} read without {message.line.content!r}, which had been acknowledged")
        there = {n: line for n, line in self.final.lines if n > read.given}
        if read.invoked_at > self.archived_by and read.outcome != there:
            self.problem(f"{read.who} read another thing than the final one, after it was archived")

    def gaps_of(self, read):
        return set(range(read.given + 1, max(read.outcome, default=-1))) - read.outcome.keys()

    def agents(self):
        """Lists are the first of the final one, with all that is known; the stored one is the final one."""
        final, first = self.final.agents(), {}
        for message in self.known:
            first.setdefault(message.line.agent_id, message.known)
        first.pop(None, None)
        if self.final.cached is not None and (self.final.cached != final or self.final.status != "archived"):
            self.problem(f"stores the agents {self.final.cached} and has {final}, {self.final.status}")
        for event in self.events:
            stored = event.outcome if event.verb == "cached" else None
            if stored is not None and (tuple(stored) != final or event.returned_at < self.archive_begun):
                self.problem(f"{event.who} saw the agents {stored} stored, and the final ones are {final}")
            if event.verb == "agent_ids" and event.acknowledged and not self.removals:
                listed = tuple(event.outcome)
                known = {agent_id for agent_id, since in first.items() if since < event.invoked_at}
                if listed != final[: len(listed)] or not known <= set(listed):
                    self.problem(f"{event.who} listed {listed}, of {final}")
                if event.invoked_at > self.archived_by and listed != final:
                    self.problem(f"{event.who} listed {listed} after it was archived, and the final ones are {final}")

    def is_removed(self, number, begun, by=NEVER):
        """Whether a removal may have taken a message that was stored after `begun` away before `by`."""
        if number < self.removed_from:
            return False
        return any(e.given <= number and e.returned_at > begun and e.invoked_at < by for e in self.removals)
