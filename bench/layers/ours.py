"""session-dal, both interfaces, and its writer."""

from functools import partial

import dal
from layers import Layer

FILLED = 1_000


class OursInTasks(Layer):
    title = "session-dal, async"
    packages = ("session-dal", "psycopg")
    call = '`AsyncSessionStore.session(id).append("user", text)`'
    beside = (
        "It maintains the session's counters and its time of activity, and returns the message's number, which "
        "follows the order of the commits. The same `message_id` again is stored once."
    )

    async def open(self, conninfo):
        self.store = dal.AsyncSessionStore.connect(conninfo)
        await self.store.apply_schema()

    async def close(self):
        await self.store.close()

    async def begin(self, session_id):
        return partial(self.store.session(session_id).append, "user")

    async def fill(self, session_id, texts):
        session = self.store.session(session_id)
        for some in batches(texts):
            await session.append_all(some)

    async def read(self, session_id):
        return [message.content async for message in self.store.session(session_id).stream()]


class OursInThreads(Layer):
    title = "session-dal, sync"
    packages = OursInTasks.packages
    call = '`SessionStore.session(id).append("user", text)`'
    beside = "As above."
    threads = True

    async def open(self, conninfo):
        self.store = dal.SessionStore.connect(conninfo)
        self.store.apply_schema()

    async def close(self):
        self.store.close()

    async def begin(self, session_id):
        session = self.store.session(session_id)

        async def append(text):
            session.append("user", text)

        return append

    async def fill(self, session_id, texts):
        session = self.store.session(session_id)
        for some in batches(texts):
            session.append_all(some)

    async def read(self, session_id):
        return [message.content for message in self.store.session(session_id).stream()]


class OursThroughAWriter(OursInTasks):
    title = "session-dal, through a writer"
    call = '`AsyncSessionStore.writer().session(id).append("user", text)`'
    beside = "As above; concurrent appends are batched into one statement and one commit."

    async def open(self, conninfo):
        await super().open(conninfo)
        self.writer = self.store.writer()
        await self.writer.__aenter__()

    async def close(self):
        await self.writer.__aexit__(None, None, None)
        await super().close()

    async def begin(self, session_id):
        return partial(self.writer.session(session_id).append, "user")


def batches(texts):
    """Yield batches of messages."""
    for start in range(0, len(texts), FILLED):
        yield [dal.NewMessage(role="user", content=text) for text in texts[start : start + FILLED]]
