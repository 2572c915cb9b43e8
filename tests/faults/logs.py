"""Read the writers' logs: the calls that they sent, and the outcomes."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field


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
class Calls:
    """The calls to one session, by method, and the notes of the acknowledged changes."""

    tried: Counter = field(default_factory=Counter)
    acknowledged: Counter = field(default_factory=Counter)
    undone: Counter = field(default_factory=Counter)
    """Calls that certainly changed nothing."""
    notes: list = field(default_factory=list)
    """The method and the notes of each acknowledged change. They are in order if one writer made all of them."""

    def most(self, methods):
        """Return the number of calls of these methods that may have changed something."""
        return sum(self.tried[method] - self.undone[method] for method in methods)

    def least(self, methods):
        return sum(self.acknowledged[method] for method in methods)

    def notes_of(self, method):
        return [notes for one, notes in self.notes if one == method]


@dataclass
class Entries:
    """The log entries of a generation; acknowledged messages as (session, message_id, sequence)."""

    tried: set = field(default_factory=set)
    acknowledged: dict = field(default_factory=dict)
    refused: set = field(default_factory=set)
    declined: set = field(default_factory=set)
    unknown: set = field(default_factory=set)
    bugs: list = field(default_factory=list)
    calls: dict = field(default_factory=lambda: defaultdict(Calls))

    def add(self, event, session, rest):
        calls = self.calls[session]
        if event == "try":
            method, *keys = rest
            self.tried.update(keys)
            calls.tried[method] += 1
        elif event == "ack":
            key, message_id, sequence = rest
            self.acknowledged.setdefault(key, set()).add((session, message_id, int(sequence)))
        elif event == "did":
            method, *notes = rest
            calls.acknowledged[method] += 1
            calls.notes.append((method, notes))
        elif event in {"refused", "declined", "unknown"}:
            method, *keys = rest
            getattr(self, event).update(keys)
            calls.undone[method] += event != "unknown"
        elif event == "bug":
            self.bugs.append(rest[0].replace("\\n", "\n"))

    @property
    def unacknowledged(self):
        return len(self.tried - self.acknowledged.keys() - self.declined)
