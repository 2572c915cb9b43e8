"""What was acknowledged against what is stored."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from faults.writers import agent, content, key_of


@dataclass
class Verdict:
    """What became of some writers' messages."""

    acknowledged: int = 0
    unacknowledged: int = 0
    lost: list = field(default_factory=list)
    duplicated: list = field(default_factory=list)
    gaps: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    """Anything else: content nobody sent, counters and cached lists that do not agree, errors nobody expects."""

    def __str__(self):
        parts = ("lost", "duplicated", "gaps", "wrong")
        return "; ".join(f"{len(found)} {name}: {found[:3]}" for name in parts if (found := getattr(self, name)))

    @property
    def sound(self):
        return not (self.lost or self.duplicated or self.gaps or self.wrong)


class Logs:
    """What the writers' logs tell, by generation: the part of a session's id before the hyphen."""

    def __init__(self, folder):
        self._folder = folder
        self._read = Counter()
        self._of = defaultdict(Told)

    def of(self, generation):
        """Read what is new, and give (once) what is told of a generation."""
        for path in self._folder.glob("*.log"):
            with path.open("rb") as file:
                file.seek(self._read[path])
                # A writer that was killed may have left half a line.
                lines = file.read().rpartition(b"\n")[0]
            self._read[path] += len(lines) + bool(lines)
            for line in lines.decode().splitlines():
                what, session, *rest = line.split("\t")
                self._of[session.partition("-")[0]].take(what, session, rest)
        return self._of.pop(generation, Told())


@dataclass
class Told:
    """What was tried, and what was acknowledged as (session, message_id, sequence)."""

    tried: set = field(default_factory=set)
    acknowledged: dict = field(default_factory=dict)
    refused: set = field(default_factory=set)
    unknown: set = field(default_factory=set)
    bugs: list = field(default_factory=list)

    def take(self, what, session, rest):
        if what == "try":
            self.tried.update(rest)
        elif what == "ack":
            key, message_id, sequence = rest
            self.acknowledged.setdefault(key, set()).add((session, message_id, int(sequence)))
        elif what in {"refused", "unknown"}:
            getattr(self, what).update(rest)
        elif what == "bug":
            self.bugs.append(rest[0].replace("\\n", "\n"))


def verify(connection, told, generation):
    """Compare all sessions of a generation; nobody may be writing to them any more."""
    tried, acknowledged, prefix = told.tried, told.acknowledged, f"{generation}-"
    verdict = Verdict(len(acknowledged), len(tried) - len(acknowledged), wrong=[f"error: {bug}" for bug in told.bugs])
    sessions = connection.execute(
        "SELECT session_id, next_sequence, message_count FROM sessions WHERE starts_with(session_id, %s)", [prefix]
    ).fetchall()
    # One row after another, not all at once: the writers in this process would have to wait, and be late for it.
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
            verdict.wrong.append(f"{session} {sequence}: stored is what nobody sent: {text[:40]}")
    for key in told.refused - told.unknown - acknowledged.keys():
        if stored[key]:
            verdict.wrong.append(f"{key}: the error said that it was not stored, and it is: {stored[key]}")
    verdict.lost = [f"{key} {told}" for key, told in acknowledged.items() if not told <= stored[key]]
    verdict.duplicated = [f"{key} {stored[key]}" for key, count in times.items() if count > 1]
    verdict.duplicated += [f"{key} acknowledged as {told}" for key, told in acknowledged.items() if len(told) > 1]
    for session, next_sequence, message_count in sessions:
        there = numbers.pop(session, [])
        if there != list(range(next_sequence)):
            verdict.gaps.append(f"{session}: of {next_sequence} numbers {len(there)} are there")
        if message_count != len(there):
            verdict.wrong.append(f"{session}: message_count {message_count}, and {len(there)} are there")
    verdict.wrong += [f"{session}: messages without a session" for session in numbers]
    return verdict


def wrong_agents(store, connection, generation):
    """The sessions whose list of agents, archived or not, cached or not, is not what a scan of the messages gives."""
    prefix = f"{generation}-"
    found = connection.execute(
        "SELECT session_id, array_agg(agent_id ORDER BY first) FILTER (WHERE agent_id IS NOT NULL) FROM "
        "(SELECT session_id, agent_id, min(sequence) AS first FROM messages "
        "WHERE starts_with(session_id, %s) GROUP BY 1, 2) AS agents GROUP BY 1",
        [prefix],
    ).fetchall()
    scanned = {session: tuple(agents or ()) for session, agents in found}
    wrong = [f"{name}: live" for name, agents in store.agent_ids(scanned).items() if agents != scanned[name]]
    for name in scanned:
        store.session(name).archive()
    for when in ("archived", "cached"):
        wrong += [f"{name}: {when}" for name, agents in store.agent_ids(scanned).items() if agents != scanned[name]]
    cached = connection.execute(
        "SELECT session_id, agent_ids FROM sessions WHERE starts_with(session_id, %s)", [prefix]
    ).fetchall()
    return wrong + [f"{name}: stored {kept}" for name, kept in cached if tuple(kept or ()) != scanned.get(name, ())]
