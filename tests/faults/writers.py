"""Writers that append all the time, in threads, tasks and processes, and log the acknowledgements.

A message's content is derived from its key, and each key is used once. So the stored content identifies the call
that sent it, however often and with whatever message_id.
"""

import asyncio
import os
import random
import time
import traceback
from hashlib import sha256

import dal

ENDED = -1
"""The generation at which the writers end."""


def content(key):
    digest = sha256(key.encode()).hexdigest()
    return f"{key} {digest * (1 + int(digest[0], 16) % 4)}"


def agent(key):
    number = int(sha256(key.encode()).hexdigest()[:2], 16) % 6
    return f"agent-{number}" if number else None


def key_of(content):
    return content.partition(" ")[0]


class Log:
    """A writer's attempts and acknowledgements, in a file that survives its death: each entry is one `write`."""

    def __init__(self, folder, writer):
        self._file = os.open(folder / f"{writer}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.writer = writer

    def put(self, *lines):
        os.write(self._file, "".join("\t".join(map(str, line)) + "\n" for line in lines).encode())

    def close(self):
        os.close(self._file)


class Call:
    """One append: logged before it is sent, and again with its outcome."""

    def __init__(self, log, session, keys, ids=None, *, timeout=None):
        self._log, self.session, self.keys, self.ids, self._timeout = log, session, keys, ids, timeout
        self.error = None
        self.late = 0.0

    def __enter__(self):
        self._log.put(("try", self.session, *self.keys))
        self._began = time.monotonic()
        return self

    def send(self, store):
        """Send the append; return its result, or an awaitable."""
        session = store.session(self.session)
        ids = self.ids or [None] * len(self.keys)
        if len(self.keys) == 1:
            key = self.keys[0]
            return session.append("user", content(key), agent_id=agent(key), message_id=ids[0])
        return session.append_all(
            dal.NewMessage(
                role="user", content=content(key), agent_id=agent(key), **({"message_id": given} if given else {})
            )
            for key, given in zip(self.keys, ids, strict=True)
        )

    def acknowledged(self, messages):
        self._took()
        messages = messages if isinstance(messages, tuple) else (messages,)
        self._log.put(
            *(
                ("ack", self.session, key, message.message_id, message.sequence)
                for key, message in zip(self.keys, messages, strict=True)
            )
        )

    def __exit__(self, kind, error, trace):
        if error is None:
            return True
        self.error = error
        self._took()
        if isinstance(error, dal.ServerUnavailable | dal.StatementFailed | dal.StoreClosed):
            unknown = getattr(error, "outcome_unknown", False)
            self._log.put(("unknown" if unknown else "refused", self.session, *self.keys))
        elif not isinstance(error, Exception):
            # Its frames may hold a connection, which is closed only when it is no longer referenced.
            error.__traceback__ = error.__context__ = None
            self._log.put(("unknown", self.session, *self.keys))
        else:
            report = "".join(traceback.format_exception(error)).replace("\n", "\\n").replace("\t", " ")
            self._log.put(("bug", self.session, report))
        return True

    def _took(self):
        if self._timeout is not None:
            self.late = max(self.late, time.monotonic() - self._began - self._timeout)
        if self.late:
            self._log.put(("late", self.session, f"{self.late:.2f}", repr(self.error)))

    @property
    def repeated(self):
        """The same messages again, with the ids of the first attempt; None if they had none."""
        ids = getattr(self.error, "message_ids", None) or self.ids
        return ids and Call(self._log, self.session, self.keys, list(ids), timeout=self._timeout)


class SharedState:
    """State that the writers and the test share across processes."""

    def __init__(self, context, writers):
        self.generation = context.RawValue("q", 0)
        self.at = context.RawArray("q", [0] * writers)
        self.acknowledged = context.RawArray("q", writers)
        self.refused = context.RawArray("q", writers)
        self.late = context.RawArray("d", writers)


def calls(state, log, index, timeout, most):
    """Yield calls to the sessions of the current generation; resend most failed ones."""
    chance = random.Random(log.writer)
    number, call = 0, None
    while (generation := state.generation.value) != ENDED:
        if state.at[index] != generation:
            state.at[index], call = generation, None
        if call is None:
            count = chance.randint(2, most) if chance.random() < 0.3 else 1
            keys = [f"{log.writer}.{number + n}" for n in range(count)]
            number += count
            ids = [f"id-{key}" for key in keys] if chance.random() < 0.3 else None
            call = Call(log, f"{log.writer[0]}{generation}-{chance.randrange(4)}", keys, ids, timeout=timeout)
        yield call
        state.late[index] = max(state.late[index], call.late)
        if call.error is None:
            state.acknowledged[index] += len(call.keys)
            call = None
        else:
            state.refused[index] += 1
            # Some are not resent, so that their errors can be checked against the stored messages.
            call = call.repeated if chance.random() < 0.7 else None
    state.at[index] = ENDED


def write(store, calls_to_make):
    for call in calls_to_make:
        with call:
            call.acknowledged(call.send(store))


async def write_async(store, calls_to_make):
    for call in calls_to_make:
        with call:
            call.acknowledged(await call.send(store))


def run_process(state, folder, writer, index, *, most, settings):
    """Run a writing process: synchronous for an even index, else asynchronous."""
    calls_to_make = calls(state, Log(folder, writer), index, settings["timeout"], most)
    if index % 2 == 0:
        with dal.SessionStore.connect(**settings) as store:
            write(store, calls_to_make)
        return

    async def run():
        async with dal.AsyncSessionStore.connect(**settings) as store:
            await write_async(store, calls_to_make)

    asyncio.run(run())
