"""The calls of a writer, and the sessions that it calls.

A generation has sessions of three kinds: shared ones from which nothing is removed, shared ones that are edited and
forked, and one per writer that is trashed, restored, deleted and created again. A writer always knows the state of its
own session, so the test notices an operation that happened twice or never, and a deleted session that came back.
"""

from collections import defaultdict, deque
from typing import NamedTuple

import dal
from faults.calls import Append, Change, Create, EraseUser, RemoveLast, Replace, redacted

APPENDED = {"append": 20, "annotate": 1, "update_metadata": 1}
EDITED = {"append": 8, "append_if_next": 4, "remove_last": 5, "replace_from": 4, "redact": 3, "fork": 2}
"""The calls to shared sessions, with their relative frequencies.

Messages are annotated only in sessions from which nothing is removed. Otherwise the reply to an annotation could be
lost, and its message be removed before the retry: the call would fail, although its first attempt succeeded.
"""

OWN = {
    None: {"append": 1},
    "active": {"append": 12, "trash": 3, "delete": 2, "erase_user": 2},
    "trashed": {"append": 2, "restore": 4, "delete": 1},
    "deleted": {"append": 2, "create": 3},
}
"""The calls to a writer's own session, by its status, with their relative frequencies. None: not stored yet."""

BECOMES = {
    "trash": "trashed",
    "restore": "active",
    "delete": "deleted",
    "erase_user": "deleted",
    "create": "active",
}

SPECIAL = {"create": Create, "erase_user": EraseUser}

REFUSALS = {"trashed": dal.SessionTrashed, "deleted": dal.SessionDeleted}


def pick(chance, shares):
    return chance.choices(list(shares), shares.values())[0]


class Known(NamedTuple):
    """A message that the writer has stored."""

    session: str
    key: str
    message_id: str
    sequence: int


class Shared:
    """The sessions that all writers share, and what one writer knows about them."""

    def __init__(self, log, names, chance, shares, *, most=1, timeout=None):
        self._log, self._names, self._chance, self._shares = log, names, chance, shares
        self._most, self._options = most, {"timeout": timeout, "learn": self._learn}
        self._known = defaultdict(lambda: deque(maxlen=8))
        """The latest messages that this writer stored in each session."""
        self._next = {}
        """The number that each session's next message gets, as far as this writer knows."""

    def next(self):
        return self.make(pick(self._chance, self._shares))

    def make(self, method):
        """Return a call of a method; an append if the method needs a message, and none is known."""
        session = self._chance.choice(self._names)
        if method == "append_if_next":
            return self._append_if_next(session)
        if method == "append" or not self._known[session]:
            return self._append(session)
        return getattr(self, f"_{method}")(self._chance.choice(self._known[session]))

    def _learn(self, call):
        """Take note of the outcome of a call."""
        if isinstance(call.error, dal.Overtaken):
            self._next[call.session] = call.error.next_sequence
        elif call.error is None and call.keys:
            for key, message in zip(call.keys, call.stored, strict=True):
                self._known[call.session].append(Known(call.session, key, message.message_id, message.sequence))
            self._next[call.session] = call.stored[-1].sequence + 1

    def _append(self, session):
        several = self._most > 1 and self._chance.random() < 0.3
        keys = self._keys(2, self._most) if several else self._keys(1, 1)
        ids = [f"id-{key}" for key in keys] if self._chance.random() < 0.3 else None
        return Append(self._log, session, keys, ids, **self._options)

    def _append_if_next(self, session):
        """Return an append whose message has the key of the metadata: check.py expects both, or neither."""
        key = f"{self._log.new_key()}+"
        conditions = {"session_metadata": {key: True}, "if_next": self._next.get(session, 0)}
        refusals = (dal.Overtaken,)
        return Append(self._log, session, [key], conditions=conditions, refusals=refusals, **self._options)

    def _annotate(self, message):
        """Annotate always the same message, so that other writers change it between the attempts of a call."""
        first = self._known[message.session][0]
        return self._change(first, "annotate", first.message_id, {"by": self._log.new_key()})

    def _update_metadata(self, message):
        return self._change(message, "update_metadata", {"title": self._log.new_key()}, named={"remove": ["title"]})

    def _redact(self, message):
        new = redacted(message.key, self._log.new_key())
        return self._change(message, "redact", message.message_id, new, notes=[message.key])

    def _fork(self, message):
        name = f"{message.session.partition('-')[0]}-fork.{self._log.new_key()}"
        at = self._chance.choice([None, message.sequence])
        return self._change(message, "fork", at, named={"session_id": name}, notes=[name])

    def _remove_last(self, message):
        return RemoveLast(self._log, message.session, self._chance.randint(1, 4), **self._options)

    def _replace_from(self, message):
        return Replace(self._log, message.session, message.sequence, self._keys(1, 2), **self._options)

    def _change(self, message, method, *arguments, **options):
        return Change(self._log, message.session, method, *arguments, **self._options, **options)

    def _keys(self, least, most):
        return [self._log.new_key() for _ in range(self._chance.randint(least, most))]


class Own:
    """A session that only one writer calls; its user has no other session."""

    def __init__(self, log, name, chance, *, timeout=None):
        self._log, self._name, self._chance = log, name, chance
        self._options = {"timeout": timeout, "learn": self._learn, "user": name}
        self._status, self._is_certain = None, True

    def next(self):
        return self.make(pick(self._chance, OWN[self._status]))

    def make(self, method):
        """Return a call of a method."""
        refusals = [error for status, error in REFUSALS.items() if status == self._status or not self._is_certain]
        options = self._options | {"refusals": tuple(refusals)}
        if method == "append":
            hopeless = self._is_certain and self._status in REFUSALS
            key = self._log.new_key()  # It has an id, so that it can be repeated: the next call needs the session.
            return Append(self._log, self._name, [key], [f"id-{key}"], hopeless=hopeless, **options)
        if method in SPECIAL:
            return SPECIAL[method](self._log, self._name, **options)
        return Change(self._log, self._name, method, **options)

    def _learn(self, call):
        """Take note of the outcome of a call."""
        if call.error is None:
            self._status = BECOMES.get(call.method, self._status or "active")
        elif call.outcome == "declined":
            self._status = next(status for status, error in REFUSALS.items() if isinstance(call.error, error))
        elif call.outcome == "unknown" and call.method in BECOMES:  # It may happen later, even after the next calls.
            self._is_certain = False


class Load:
    """The calls of one writer to the sessions of a generation."""

    def __init__(self, log, generation, chance, *, most, timeout):
        def names(kind, n):
            return [f"{generation}-{kind}{number}" for number in range(n)]

        self._chance = chance
        self._parts = {
            Shared(log, names("", 4), chance, APPENDED, most=most, timeout=timeout): 75,
            Shared(log, names("edited", 2), chance, EDITED, most=3, timeout=timeout): 15,
            Own(log, f"{generation}-of.{log.writer}", chance, timeout=timeout): 10,
        }

    def next(self):
        """Return the next call."""
        return pick(self._chance, self._parts).next()
