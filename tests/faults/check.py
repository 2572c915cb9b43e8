"""Compare the outcomes of the writers' calls with what is stored."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import inf

from faults.load import BECOMES
from faults.stored import read

RECORDED = {
    "remove": "remove_last",
    "replace": "replace_from",
    "annotate": "annotate",
    "redact": "redact",
    "metadata": "update_metadata",
    "trash": "trash",
    "restore": "restore",
}
"""The method for each kind of recorded change."""

COUNTED = {*RECORDED.values(), *BECOMES}
"""The methods that raise the session's revision by one."""


@dataclass
class Verdict:
    """The result of comparing the calls of some writers with what is stored."""

    acknowledged: int = 0
    unacknowledged: int = 0
    changes: int = 0
    """Acknowledged calls other than appends; those that replace messages are also in `acknowledged`."""
    unknown: int = 0
    """Calls other than appends that may have happened, or not."""
    lost: list = field(default_factory=list)
    duplicated: list = field(default_factory=list)
    gaps: list = field(default_factory=list)
    misapplied: list = field(default_factory=list)
    """Changes that happened more or less often than the calls returned, or that did something else."""
    wrong: list = field(default_factory=list)
    """Anything else that is wrong: content that nobody sent, counters, cached lists, unexpected errors."""

    def __str__(self):
        return "; ".join(f"{len(found)} {name}: {found[:3]}" for name in FOUND if (found := getattr(self, name)))

    @property
    def is_sound(self):
        return not any(getattr(self, name) for name in FOUND)


FOUND = ("lost", "duplicated", "gaps", "misapplied", "wrong")
"""The fields of a verdict that must be empty."""


def verify(connection, entries, generation):
    """Check all sessions of a generation. No writer may still write to them."""
    sessions, strange = read(connection, generation)
    verdict = Verdict(len(entries.acknowledged), entries.unacknowledged)
    verdict.wrong = [f"error: {bug}" for bug in entries.bugs] + strange
    _compare_messages(verdict, sessions, entries)
    for session in sessions.values():
        check = _Check(session, entries.calls[session.id], verdict)
        if session.is_fork:
            check.fork(sessions.get(session.row.parent_id))
        else:
            check.numbers()
            check.changes()
            check.removals()
            check.redactions()
            check.metadata()
    _count_changes(verdict, sessions, entries)
    return verdict


def _compare_messages(verdict, sessions, entries):
    """Compare the messages of all sessions with the acknowledged, refused and sent ones; forks have copies."""
    places, current = defaultdict(set), Counter()
    for session in sessions.values():
        if not session.is_fork:
            for message in session.everything:
                places[message.key].add((session.id, message.message_id, message.sequence))
            current.update(message.key for message in session.messages)
    for key, acknowledged in entries.acknowledged.items():
        if any(place not in places[key] and not _is_deleted(sessions, place) for place in acknowledged):
            verdict.lost.append(f"{key} {acknowledged}")
        if len(acknowledged) > 1:
            verdict.duplicated.append(f"{key} acknowledged as {acknowledged}")
    # If a message is removed between an attempt to store it and the retry, it is stored again, as documented.
    verdict.duplicated += [f"{key} {places[key]}" for key, count in current.items() if count > 1]
    verdict.wrong += [f"{key}: stored, but nobody sent it" for key in places.keys() - entries.tried]
    for key in (entries.refused | entries.declined) - entries.unknown - entries.acknowledged.keys():
        if current[key]:
            verdict.wrong.append(f"{key}: stored, although the error said that it was not: {places[key]}")


def _is_deleted(sessions, place):
    """Return whether the message was deleted with its session, which may have been created again since then."""
    session_id, _, sequence = place
    session = sessions.get(session_id)
    return session is not None and sequence < floor_of(session)


def floor_of(session):
    """Return the first number of a session, which is not 0 if it was created again; no message may be missing."""
    return session.row.next_sequence - len(session.everything)


def _count_changes(verdict, sessions, entries):
    for session_id, calls in entries.calls.items():
        methods = calls.tried.keys() - {"append"}
        verdict.changes += calls.least(methods)
        verdict.unknown += calls.most(methods) - calls.least(methods)
        for (fork,) in calls.notes_of("fork"):
            if fork not in sessions or sessions[fork].row.parent_id != session_id:
                verdict.misapplied.append(f"{session_id}: the fork {fork} is not stored")


class _Check:
    """The checks of one session."""

    def __init__(self, session, calls, verdict):
        self.session, self.calls, self.verdict = session, calls, verdict
        self.began = [(0, 0), *([tuple(map(int, notes)) for notes in calls.notes_of("create")])]
        """The number and the revision with which each session with this id began."""
        self.is_certain = calls.least(BECOMES) == calls.most(BECOMES)
        """True if the writer knows how often each of its changes to the session happened."""

    def wrong(self, text):
        self.verdict.wrong.append(f"{self.session.id}: {text}")

    def misapplied(self, text):
        self.verdict.misapplied.append(f"{self.session.id}: {text}")

    def numbers(self):
        """The numbers have no gap, and begin where the session began; nothing is stored under a tombstone."""
        row, floor = self.session.row, floor_of(self.session)
        numbers = sorted(message.sequence for message in self.session.everything)
        if numbers != list(range(floor, row.next_sequence)):
            self.verdict.gaps.append(f"{self.session.id}: {len(numbers)} of {row.next_sequence} numbers are stored")
        if row.message_count != len(self.session.messages):
            self.wrong(f"message_count is {row.message_count}, but {len(self.session.messages)} are stored")
        if row.status == "deleted" and numbers:
            self.wrong(f"deleted, but {len(numbers)} messages are stored")
        if not self.is_certain:
            return
        status = BECOMES[self.calls.notes[-1][0]] if self.calls.least(BECOMES) else "active"
        if row.status != status:
            self.misapplied(f"is {row.status}, but the last acknowledged change made it {status}")
        elif status != "deleted" and floor != self.began[-1][0]:
            self.verdict.lost.append(f"{self.session.id}: the numbers begin at {floor}, not {self.began[-1][0]}")

    def changes(self):
        """Each acknowledged change happened once, and each unknown one at most once."""
        row, calls = self.session.row, self.calls
        least, most = calls.least(COUNTED), calls.most(COUNTED)
        if not least <= row.revision <= most:
            self.misapplied(f"changed {row.revision} times, and the writers made {least} to {most} changes")
        revisions = [change.revision for change in self.session.changes]
        first = row.revision - len(revisions) + 1
        if revisions != list(range(first, row.revision + 1)):
            self.wrong(f"changes up to {revisions[-3:]} are recorded, but the revision is {row.revision}")
        elif self.is_certain and row.status != "deleted" and first != self.began[-1][1] + 1:
            self.wrong(f"{len(revisions)} changes are recorded since revision {self.began[-1][1]}: {row.revision}")
        for kind, count in Counter(change.kind for change in self.session.changes).items():
            if count > calls.most([RECORDED.get(kind, kind)]):
                self.misapplied(f"{count} times {kind}, more than the writers sent")
        if calls.tried.keys().isdisjoint(BECOMES):
            recorded = Counter(RECORDED.get(change.kind) for change in self.session.changes)
            for method, count in calls.acknowledged.items():
                if method in COUNTED and recorded[method] < count:
                    self.misapplied(f"{count} times {method} acknowledged, but recorded {recorded[method]} times")

    def removals(self):
        """Each removed message was removed by a recorded change, and at most one removal returned it."""
        removed_by = defaultdict(set)
        for message in self.session.removed:
            removed_by[message.removed_by].add(message.sequence)
        for change in self.session.changes:
            found = removed_by[change.revision]
            removed = len(found), min(found, default=None), max(found, default=None)
            if change.kind in {"remove", "replace"} and removed != change[-3:]:
                self.wrong(f"{change} is recorded, but removed {sorted(found)}")
        if removed_by[None]:
            self.wrong(f"removed by no recorded change: {sorted(removed_by[None])}")
        recorded = [removed_by[change.revision] for change in self.session.changes if change.kind == "remove"]
        for numbers in self.calls.notes_of("remove_last"):
            if (returned := set(map(int, numbers))) not in recorded:
                self.misapplied(f"remove_last returned {sorted(returned)}, which no change removed")
            else:
                recorded.remove(returned)

    def redactions(self):
        """No copy of a redacted message has its old content."""
        originals = {message.key for message in self.session.everything if message.is_original}
        for (key,) in self.calls.notes_of("redact"):
            if key in originals:
                self.misapplied(f"{key} was redacted, but is stored with its content")

    def metadata(self):
        """A key that ends with "+" is the key of a message, and both are stored, or neither."""
        keys = {message.key for message in self.session.everything if message.key.endswith("+")}
        marks = {key for key in self.session.row.metadata if key.endswith("+")}
        if keys != marks:
            self.misapplied(f"messages without their metadata, or metadata without its message: {keys ^ marks}")

    def fork(self, parent):
        """A fork has the messages that its parent had before the fork point, at one moment.

        Messages that the parent lost before that moment are missing; messages that it lost later are there.
        """
        row, fork = self.session.row, {message.sequence: message for message in self.session.messages}
        if row.next_sequence != row.fork_point or row.message_count != len(fork) or row.revision:
            self.wrong(f"a fork with the wrong counters: {row}")
        before = [one for one in parent.everything if one.sequence < row.fork_point] if parent else []
        there = {one.sequence for one in before if one.sequence in fork and one[:3] == fork[one.sequence][:3]}
        removed = [inf if one.removed_by is None else one.removed_by for one in before]
        kept = min((by for one, by in zip(before, removed, strict=True) if one.sequence in there), default=inf)
        missing = max((by for one, by in zip(before, removed, strict=True) if one.sequence not in there), default=0)
        if there != fork.keys() or missing >= kept:
            self.misapplied(
                f"is a fork of {row.parent_id} with {sorted(fork)}, at no moment the messages before {row.fork_point}"
            )


def agent_mismatches(store, connection, generation):
    """Return the sessions whose list of agents (live, archived or cached) differs from a scan of the messages."""
    prefix = f"{generation}-"
    found = connection.execute(
        "SELECT session_id, array_agg(agent_id::text ORDER BY first) FILTER (WHERE agent_id IS NOT NULL) FROM "
        "(SELECT session_id, m.agent_id, min(m.sequence) AS first FROM messages AS m JOIN sessions USING (session_id) "
        "WHERE starts_with(session_id, %s) AND status <> 'trashed' GROUP BY 1, 2) AS agents GROUP BY 1",
        [prefix],
    ).fetchall()
    scanned = {session: tuple(agents or ()) for session, agents in found}
    different = [f"{name}: live" for name, agents in store.agent_ids(scanned).items() if agents != scanned[name]]
    for name in scanned:
        store.session(name).archive()
    for when in ("archived", "cached"):
        different += [f"{name}: {when}" for name, agents in store.agent_ids(scanned).items() if agents != scanned[name]]
    cached = connection.execute(
        "SELECT session_id, agent_ids FROM sessions WHERE starts_with(session_id, %s)", [prefix]
    ).fetchall()
    return different + [
        f"{name}: stored {agents}" for name, agents in cached if tuple(agents or ()) != scanned.get(name, ())
    ]
