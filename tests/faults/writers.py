"""Writers that write the whole time, in threads, tasks and processes, and put down what was acknowledged to them.

A message's content follows from its key, and its key is used once: so the content that is stored tells which call
sent it, however often and under whatever message_id.
"""

import asyncio
import os
import random
import time
import traceback
from hashlib import sha256

import dal

ENDED = -1
"""The generation that tells the writers to end."""


def content(key):
    digest = sha256(key.encode()).hexdigest()
    return f"{key} {digest * (1 + int(digest[0], 16) % 4)}"


def agent(key):
    number = int(sha256(key.encode()).hexdigest()[:2], 16) % 6
    return f"agent-{number}" if number else None


def key_of(content):
    return content.partition(" ")[0]


class Log:
    """What one writer tried and what was acknowledged, in a file that survives the writer: `write` is one call."""

    def __init__(self, folder, writer):
        self._file = os.open(folder / f"{writer}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.writer = writer

    def put(self, *lines):
        os.write(self._file, "".join("\t".join(map(str, line)) + "\n" for line in lines).encode())

    def close(self):
        os.close(self._file)


class Call:
    """One append: it is put down before it is sent, and acknowledged, or refused, after it returned."""

    def __init__(self, log, session, keys, ids=None, *, timeout=None):
        self._log, self.session, self.keys, self.ids, self._timeout = log, session, keys, ids, timeout
        self.error = None
        self.late = 0.0

    def __enter__(self):
        self._log.put(("try", self.session, *self.keys))
        self._began = time.monotonic()
        return self

    def send(self, store):
        """What is to be awaited, or is done."""
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
            # Its frames may hold a connection, which is closed when nothing holds it any more.
            error.__traceback__ = error.__context__ = None
            self._log.put(("unknown", self.session, *self.keys))
        else:
            told = "".join(traceback.format_exception(error)).replace("\n", "\\n").replace("\t", " ")
            self._log.put(("bug", self.session, told))
        return True

    def _took(self):
        if self._timeout is not None:
            self.late = max(self.late, time.monotonic() - self._began - self._timeout)
        if self.late:
            self._log.put(("late", self.session, f"{self.late:.2f}", repr(self.error)))

    @property
    def again(self):
        """The same messages once more, with the ids that they were sent with, as the error asks for."""
        ids = getattr(self.error, "message_ids", None) or self.ids
        return ids and Call(self._log, self.session, self.keys, list(ids), timeout=self._timeout)


class Board:
    """Where the writers and the test see each other, across processes."""

    def __init__(self, context, writers):
        self.generation = context.RawValue("q", 0)
        self.at = context.RawArray("q", [0] * writers)
        self.acknowledged = context.RawArray("q", writers)
        self.refused = context.RawArray("q", writers)
        self.late = context.RawArray("d", writers)


def calls(board, log, index, timeout, most):
    """One call after another, each in the present generation's sessions; most that fail are sent again."""
    chance = random.Random(log.writer)
    number, call = 0, None
    while (generation := board.generation.value) != ENDED:
        if board.at[index] != generation:
            board.at[index], call = generation, None
        if call is None:
            count = chance.randint(2, most) if chance.random() < 0.3 else 1
            keys = [f"{log.writer}.{number + n}" for n in range(count)]
            number += count
            ids = [f"id-{key}" for key in keys] if chance.random() < 0.3 else None
            call = Call(log, f"{log.writer[0]}{generation}-{chance.randrange(4)}", keys, ids, timeout=timeout)
        yield call
        board.late[index] = max(board.late[index], call.late)
        if call.error is None:
            board.acknowledged[index] += len(call.keys)
            call = None
        else:
            board.refused[index] += 1
            # Some are left as they are, to be compared with what their errors said.
            call = call.again if chance.random() < 0.7 else None
    board.at[index] = ENDED


def write(store, plan):
    for call in plan:
        with call:
            call.acknowledged(call.send(store))


async def write_async(store, plan):
    for call in plan:
        with call:
            call.acknowledged(await call.send(store))


def in_process(board, folder, writer, index, *, most, settings):
    """The whole of a writer's process: an even one is synchronous, an odd one not."""
    plan = calls(board, Log(folder, writer), index, settings["timeout"], most)
    if index % 2 == 0:
        with dal.SessionStore.connect(**settings) as store:
            write(store, plan)
        return

    async def run():
        async with dal.AsyncSessionStore.connect(**settings) as store:
            await write_async(store, plan)

    asyncio.run(run())
