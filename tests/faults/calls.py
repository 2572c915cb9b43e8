"""The calls that writers make: each is logged before it is sent, and again with its outcome.

A message's content is derived from its key, and each key is used once. So the stored content identifies the call
that sent it, even if it is stored twice, or with another message_id.
"""

import os
import time
import traceback
from copy import copy
from hashlib import sha256
from itertools import count

import dal


def content(key):
    digest = sha256(key.encode()).hexdigest()
    return f"{key} {digest * (1 + int(digest[0], 16) % 4)}"


def redacted(key, by):
    """Return the content that a redaction writes. It contains the redaction's own key, so no two write the same."""
    return f"{key} redacted by {by}"


def agent(key):
    number = int(sha256(key.encode()).hexdigest()[:2], 16) % 6
    return f"agent-{number}" if number else None


def key_of(content):
    return content.partition(" ")[0]


class Log:
    """A writer's attempts and acknowledgements, in a file that survives a kill: each entry is one `write`."""

    def __init__(self, folder, writer):
        self._file = os.open(folder / f"{writer}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._numbers = count()
        self.writer = writer

    def new_key(self):
        return f"{self.writer}.{next(self._numbers):05}"

    def put(self, *lines):
        os.write(self._file, "".join("\t".join(map(str, line)) + "\n" for line in lines).encode())

    def close(self):
        os.close(self._file)


class Call:
    """One call to a session. `keys` are the keys of its new messages.

    `refusals` are the errors that the state of the session may cause, after the calls of this or another writer. If the
    call is `hopeless`, the session must refuse it. `learn` is called with the call when it has ended.
    """

    keys = ()

    def __init__(self, log, session, method, *, user=None, refusals=(), hopeless=False, learn=None, timeout=None):
        self._log, self.session, self.method, self._timeout = log, session, method, timeout
        self._user, self.refusals, self._hopeless, self._learn = user, refusals, hopeless, learn
        self.error = self.result = self.outcome = None
        self.late = 0.0

    def __enter__(self):
        self._log.put(("try", self.session, self.method, *self.keys))
        self._began = time.monotonic()
        return self

    def opened(self, store):
        return store.session(self.session, user_id=self._user)

    def acknowledged(self, result):
        self._took()
        self.result = result
        self._log.put(*self.entries(result))
        if self._hopeless:
            self._log.put(("bug", self.session, f"{self.method} succeeded; expected one of {self.refusals}"))

    def __exit__(self, kind, error, trace):
        if error is not None:
            self._failed(error)
        if self._learn is not None:
            self._learn(self)
        return True

    def _failed(self, error):
        self.error = error
        self._took()
        self.outcome = self._outcome_of(error)
        if self.outcome == "bug":
            report = "".join(traceback.format_exception(error)).replace("\n", "\\n").replace("\t", " ")
            self._log.put(("bug", self.session, report))
        else:
            self._log.put((self.outcome, self.session, self.method, *self.keys))

    def _outcome_of(self, error):
        if not isinstance(error, Exception):
            # Its frames may hold a connection, which is closed only when it is no longer referenced.
            error.__traceback__ = error.__context__ = None
            return "unknown"
        if isinstance(error, self.refusals):
            return "declined"
        if isinstance(error, dal.ServerUnavailable | dal.StatementFailed | dal.StoreClosed):
            return "unknown" if self.may_have_happened(error) else "refused"
        return "bug"

    @staticmethod
    def may_have_happened(error):
        """Return whether the failed call may have changed something.

        An error without an SQLSTATE leaves that open: the reply may have been lost, and the retry have found that
        another writer had undone the change.
        """
        is_undone = isinstance(error, dal.StatementFailed) and error.sqlstate is None
        return is_undone or getattr(error, "outcome_unknown", False)

    def _took(self):
        if self._timeout is not None:
            self.late = max(self.late, time.monotonic() - self._began - self._timeout)
        if self.late:
            self._log.put(("late", self.session, f"{self.late:.2f}", repr(self.error)))

    def again(self, **changes):
        """Return the same call, to be made once more."""
        one = copy(self)
        vars(one).update(error=None, result=None, outcome=None, late=0.0, **changes)
        return one


class WithMessages(Call):
    """A call that stores new messages."""

    def __init__(self, log, session, method, keys, ids=None, **options):
        super().__init__(log, session, method, **options)
        self.keys, self.ids = keys, ids

    def new_messages(self):
        return [
            dal.NewMessage(
                role="user", content=content(key), agent_id=agent(key), **({"message_id": given} if given else {})
            )
            for key, given in zip(self.keys, self.ids or [None] * len(self.keys), strict=True)
        ]

    def entries(self, result):
        return [
            ("ack", self.session, key, message.message_id, message.sequence)
            for key, message in zip(self.keys, self.stored, strict=True)
        ]

    @property
    def stored(self):
        """The stored messages, once the call is acknowledged."""
        return self.result if isinstance(self.result, tuple) else (self.result,)


class Append(WithMessages):
    """An append of one message or several."""

    def __init__(self, log, session, keys, ids=None, *, conditions=None, **options):
        super().__init__(log, session, "append", keys, ids, **options)
        self._conditions = conditions or {}

    def send(self, store):
        """Send the append; return its result, or an awaitable."""
        session = self.opened(store)
        if len(self.keys) > 1:
            return session.append_all(self.new_messages(), **self._conditions)
        key, message_id = self.keys[0], (self.ids or [None])[0]
        return session.append("user", content(key), agent_id=agent(key), message_id=message_id, **self._conditions)

    def entries(self, result):
        wanted, first = self._conditions.get("if_next"), self.stored[0].sequence
        if wanted not in {None, first}:
            return [*super().entries(result), ("bug", self.session, f"stored as {first}, with if_next={wanted}")]
        return super().entries(result)

    @property
    def repeated(self):
        """The same append again, with the message_ids of the first attempt; None if it had none."""
        ids = getattr(self.error, "message_ids", None) or self.ids
        return ids and self.again(ids=list(ids))


class Replace(WithMessages):
    """A replacement of the messages from a number on. It is not repeated: it would replace its own messages."""

    repeated = None

    def __init__(self, log, session, sequence, keys, **options):
        super().__init__(log, session, "replace_from", keys, **options)
        self._sequence = sequence

    def send(self, store):
        return self.opened(store).replace_from(self._sequence, self.new_messages())

    def entries(self, result):
        return [*super().entries(result), ("did", self.session, self.method)]


class Change(Call):
    """A call of a method with these arguments, which stores no message."""

    def __init__(self, log, session, method, *arguments, named=None, notes=(), **options):
        super().__init__(log, session, method, **options)
        self._arguments, self._named, self._notes = arguments, named or {}, notes

    def send(self, store):
        return getattr(self.opened(store), self.method)(*self._arguments, **self._named)

    def entries(self, result):
        return [("did", self.session, self.method, *self._notes)]

    @property
    def repeated(self):
        return self.again()


class RemoveLast(Change):
    """A removal of the last messages. It is not repeated: it would remove others."""

    repeated = None

    def __init__(self, log, session, n, **options):
        super().__init__(log, session, "remove_last", n, **options)

    def entries(self, result):
        if not result:  # There was no message left, so this changed nothing.
            return [("declined", self.session, self.method)]
        return [("did", self.session, self.method, *(message.sequence for message in result))]


class Create(Change):
    """A call that begins another session with the id of a deleted one."""

    def __init__(self, log, session, **options):
        super().__init__(log, session, "create", named={"again": True}, **options)

    def entries(self, result):
        return [("did", self.session, self.method, result.next_sequence, result.revision)]


class EraseUser(Change):
    """The erasure of a user who has no other session. It sends several statements, and any of them may fail."""

    def __init__(self, log, session, **options):
        super().__init__(log, session, "erase_user", **options)

    def send(self, store):
        return store.erase_user(self._user)

    @staticmethod
    def may_have_happened(error):
        return True
