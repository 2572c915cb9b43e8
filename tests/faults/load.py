"""What a writer sends, and to which sessions.

A generation has sessions of three kinds: shared ones from which nothing is removed, shared ones that are edited and
forked, and one per writer that is trashed, restored, deleted and begun again. The writer of the last kind knows what
state the session has, so an operation that happened twice or never shows, as does a session that came back.
"""

from collections import defaultdict, deque

import dal
from faults.calls import Append, Change, Create, EraseUser, RemoveLast, Replace, redacted

APPENDED = {"append": 20, "annotate": 1, "update_metadata": 1}
EDITED = {"append": 8, "append_if_next": 4, "remove_last": 5, "replace_from": 4, "redact": 3, "fork": 2}
"""The calls to shared sessions, and how often they are made in relation to each other.

Nothing is annotated in sessions whose messages are removed: an annotation that is retried after a lost reply does not
find a message that was removed meanwhile, and fails, although the first attempt succeeded.
"""

OWN = {
    None: {"append": 1},
    "active": {"append": 12, "trash": 3, "delete": 2, "erase_user": 2},
    "trashed": {"append": 2, "restore": 4, "delete": 1},
    "deleted": {"append": 2, "create": 3},
}
"""The calls to a writer's own session, by its status. None: not stored yet."""

BECOMES = {
    "trash": "trashed",
    "restore": "active",
    "delete": "deleted",
    "erase_user": "deleted",
    "create": "active",
}

REFUSALS = {"trashed": dal.SessionTrashed, "deleted": dal.SessionDeleted}


class Sessions:
    """Some sessions of a generation, and what one writer knows of them."""

    def __init__(self, log, names, chance, *, most=1, timeout=None):
        self._log, self._names, self._chance, self._most, self._timeout = log, names, chance, most, timeout

    def _pick(self, shares):
        return self.make(self._chance.choices(list(shares), shares.values())[0])

    def make(self, method):
        """Return a call of a method."""
        return getattr(self, f"_{method}")(self._chance.choice(self._names))

    def _keys(self, least, most):
        return [self._log.new_key() for _ in range(self._chance.randint(least, most))]


class Shared(Sessions):
    """Sessions of all writers."""

    def __init__(self, log, names, chance, shares, **options):
        super().__init__(log, names, chance, **options)
        self._shares = shares
        self._known = defaultdict(lambda: deque(maxlen=8))
        """The latest messages that this writer stored in each session: key, message_id and number."""
        self._next = {}

    def next(self):
        return self._pick(self._shares)

    def learn(self, call):
        """Take note of the outcome of a call."""
        if isinstance(call.error, dal.Overtaken):
            self._next[call.session] = call.error.next_sequence
        elif call.error is None and call.keys:
            for key, message in zip(call.keys, call.stored, strict=True):
                self._known[call.session].append((key, message.message_id, message.sequence))
            self._next[call.session] = call.stored[-1].sequence + 1

    def _append(self, session):
        several = self._most > 1 and self._chance.random() < 0.3
        keys = self._keys(2, self._most) if several else self._keys(1, 1)
        ids = [f"id-{key}" for key in keys] if self._chance.random() < 0.3 else None
        return Append(self._log, session, keys, ids, timeout=self._timeout)

    def _append_if_next(self, session):
        """The message and the key of the metadata are stored together, or not at all: see check.py."""
        key = f"{self._log.new_key()}+"
        conditions = {"session_metadata": {key: True}, "if_next": self._next.get(session, 0)}
        refusals = (dal.Overtaken,)
        return Append(self._log, session, [key], conditions=conditions, refusals=refusals, timeout=self._timeout)

    def _of_known(self, session, make):
        """Return a call that needs a message; an append if none is known."""
        known = self._known[session]
        return make(*self._chance.choice(known)) if known else self._append(session)

    def _change(self, session, method, *arguments, **options):
        return Change(self._log, session, method, *arguments, timeout=self._timeout, **options)

    def _annotate(self, session):
        by = self._log.new_key()
        return self._of_known(
            session, lambda _, message_id, __: self._change(session, "annotate", message_id, {"by": by})
        )

    def _update_metadata(self, session):
        title = {"title": self._log.new_key()}
        return self._of_known(
            session, lambda *_: self._change(session, "update_metadata", title, named={"remove": ["title"]})
        )

    def _remove_last(self, session):
        n = self._chance.randint(1, 4)
        return self._of_known(session, lambda *_: RemoveLast(self._log, session, n, timeout=self._timeout))

    def _replace_from(self, session):
        keys = self._keys(1, 2)
        return self._of_known(
            session, lambda _, __, sequence: Replace(self._log, session, sequence, keys, timeout=self._timeout)
        )

    def _redact(self, session):
        by = self._log.new_key()
        return self._of_known(
            session,
            lambda key, message_id, _: self._change(session, "redact", message_id, redacted(key, by), notes=[key]),
        )

    def _fork(self, session):
        name = f"{session.partition('-')[0]}-fork.{self._log.new_key()}"
        is_whole = self._chance.random() < 0.5
        return self._of_known(
            session,
            lambda _, __, sequence: self._change(
                session, "fork", None if is_whole else sequence, named={"session_id": name}, notes=[name]
            ),
        )


class Own(Sessions):
    """A session of one writer only, which is the only session of its user."""

    def __init__(self, log, name, chance, **options):
        super().__init__(log, [name], chance, **options)
        self._status, self._is_certain = None, True

    def next(self):
        return self._pick(OWN[self._status])

    def learn(self, call):
        if call.error is None:
            self._status = BECOMES.get(call.method, self._status or "active")
        elif call.outcome == "declined":
            self._status = next(status for status, error in REFUSALS.items() if isinstance(call.error, error))
        elif call.outcome == "unknown" and call.method in BECOMES:  # It may happen later, even after the next calls.
            self._is_certain = False

    def _options(self, session):
        refusals = [error for status, error in REFUSALS.items() if status == self._status or not self._is_certain]
        return {"user": session, "refusals": tuple(refusals), "timeout": self._timeout}

    def _append(self, session):
        hopeless = self._is_certain and self._status in REFUSALS
        return Append(self._log, session, self._keys(1, 1), hopeless=hopeless, **self._options(session))

    def _create(self, session):
        return Create(self._log, session, **self._options(session))

    def _erase_user(self, session):
        return EraseUser(self._log, session, **self._options(session))

    def make(self, method):
        [session] = self._names
        if method in {"trash", "restore", "delete"}:
            return Change(self._log, session, method, **self._options(session))
        return super().make(method)


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
        self._part = None

    def next(self):
        self._part = self._chance.choices(list(self._parts), self._parts.values())[0]
        return self._part.next()

    def learn(self, call):
        self._part.learn(call)
