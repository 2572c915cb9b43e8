"""Compare the acknowledged messages with the stored ones."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from faults.writers import agent, content, key_of


@dataclass
class Verdict:
    """The result of comparing the messages of some writers."""

    acknowledged: int = 0
    unacknowledged: int = 0
    lost: list = field(default_factory=list)
    duplicated: list = field(default_factory=list)
    gaps: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    """Any other fault: content that nobody sent, wrong counters or cached lists, unexpected errors."""

    def __str__(self):
        parts = ("lost", "duplicated", "gaps", "wrong")
        return "; ".join(f"{len(found)} {name}: {found[:3]}" for name in parts if (found := getattr(self, name)))

    @property
    def is_sound(self):
        return not (self.lost or self.duplicated or self.gaps or self.wrong)


class Logs:
    """The writers' logs, by generation: the part of a session's id before the hyphen."""

    def __init__(self, folder):
        self._folder = folder
        self._read = Counter()
        self._of = defaultdict(Entries)

    def of(self, generation):
        """Read the new entries; return those of a generation, and forget them."""
        for path in self._folder.glob("*.log"):
            with path.open("rb") as file:
                file.seek(self._read[path])
                # A killed writer may have left half a line.
                lines = file.read().rpartition(b"\n")[0]
            self._read[path] += len(lines) + bool(lines)
            for line in lines.decode().splitlines():
                event, session, *rest = line.split("\t")
                self._of[session.partition("-")[0]].add(event, session, rest)
        return self._of.pop(generation, Entries())


@dataclass
class Entries:
    """The log entries of a generation; acknowledgements as (session, message_id, sequence)."""

    tried: set = field(default_factory=set)
    acknowledged: dict = field(default_factory=dict)
    refused: set = field(default_factory=set)
    unknown: set = field(default_factory=set)
    bugs: list = field(default_factory=list)

    def add(self, event, session, rest):
        if event == "try":
            self.tried.update(rest)
        elif event == "ack":
            key, message_id, sequence = rest
            self.acknowledged.setdefault(key, set()).add((session, message_id, int(sequence)))
        elif event in {"refused", "unknown"}:
            getattr(self, event).update(rest)
        elif event == "bug":
            self.bugs.append(rest[0].replace("\\n", "\n"))


def verify(connection, entries, generation):
    """Compare all sessions of a generation, to which no writer writes any more."""
    tried, acknowledged, prefix = entries.tried, entries.acknowledged, f"{generation}-"
    verdict = Verdict(
        len(acknowledged), len(tried) - len(acknowledged), wrong=[f"error: {bug}" for bug in entries.bugs]
    )
    sessions = connection.execute(
        "SELECT session_id, next_sequence, message_count FROM sessions WHERE starts_with(session_id, %s)", [prefix]
    ).fetchall()
    # Row by row: fetching all rows at once would block the writers in this process, and delay their calls.
    rows = connection.execute(
        "SELECT session_id, sequence, message_id, agent_id, content FROM messages "
        "WHERE starts_with(session_id, %s) ORDER BY session_id, sequence",
        [prefix],
    )
    stored, numbers = defaultdict(set), defaultdict(list)
    times = Counter()
    for session, sequence, message_id, agent_id, text in rows:
        key = key_of(text)
        numbers[session].append(sequence)
        times[key] += 1
        stored[key].add((session, message_id, sequence))
        if key not in tried or text != content(key) or agent_id != agent(key):
            verdict.wrong.append(f"{session} {sequence}: stored, but nobody sent it: {text[:40]}")
    for key in entries.refused - entries.unknown - acknowledged.keys():
        if stored[key]:
            verdict.wrong.append(f"{key}: stored, although the error said that it was not: {stored[key]}")
    verdict.lost = [f"{key} {places}" for key, places in acknowledged.items() if not places <= stored[key]]
    verdict.duplicated = [f"{key} {stored[key]}" for key, count in times.items() if count > 1]
    verdict.duplicated += [f"{key} acknowledged as {places}" for key, places in acknowledged.items() if len(places) > 1]
    for session, next_sequence, message_count in sessions:
        found = numbers.pop(session, [])
        if found != list(range(next_sequence)):
            verdict.gaps.append(f"{session}: {len(found)} of {next_sequence} numbers are stored")
        if message_count != len(found):
            verdict.wrong.append(f"{session}: message_count is {message_count}, but {len(found)} are stored")
    verdict.wrong += [f"{session}: messages without a session" for session in numbers]
    return verdict


def agent_mismatches(store, connection, generation):
    """Return the sessions whose list of agents (live, archived or cached) differs from a scan of the messages."""
    prefix = f"{generation}-"
    found = connection.execute(
        "SELECT session_id, array_agg(agent_id ORDER BY first) FILTER (WHERE agent_id IS NOT NULL) FROM "
        "(SELECT session_id, agent_id, min(sequence) AS first FROM messages "
        "WHERE starts_with(session_id, %s) GROUP BY 1, 2) AS agents GROUP BY 1",
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
