"""Chainlit: SQLAlchemyDataLayer."""

import uuid
from pathlib import Path

import psycopg
from chainlit.context import init_http_context
from chainlit.data.sql_alchemy import SQLAlchemyDataLayer
from literalai.helper import utc_now

from layers import Layer, url

SCHEMA = Path(__file__).with_suffix(".sql")


class Chainlit(Layer):
    title = "chainlit, `SQLAlchemyDataLayer`"
    packages = ("chainlit", "sqlalchemy", "asyncpg")
    call = '`layer.create_step({"threadId": id, "type": "user_message", "output": text, …})`'
    beside = (
        "A step is an entry of Chainlit's page, with more fields than a message; it is stored again when it changes. "
        "The call first checks that the thread exists, and creates it if not, in a transaction of its own. If the "
        "database raises an error, the call logs it and returns. Steps are ordered by the times that the client gave "
        "them. There is no call for many steps, so the sessions were filled one step at a time."
    )

    async def open(self, conninfo):
        with psycopg.connect(conninfo) as connection:
            connection.execute(SCHEMA.read_bytes())
        init_http_context()  # The layer needs the context of a request.
        self.layer = SQLAlchemyDataLayer(url(conninfo, "asyncpg"))

    async def close(self):
        await self.layer.close()

    async def begin(self, session_id):
        async def append(text):
            await self.layer.create_step(step(session_id, text))

        return append

    async def fill(self, session_id, texts):
        for text in texts:
            await self.layer.create_step(step(session_id, text))

    async def read(self, session_id):
        return [one["output"] for one in (await self.layer.get_thread(session_id))["steps"]]


def step(session_id, text):
    """Return a step like that of a chainlit.Message."""
    now = utc_now()
    return {
        "id": str(uuid.uuid4()),
        "threadId": session_id,
        "createdAt": now,
        "start": now,
        "end": now,
        "name": "user",
        "type": "user_message",
        "output": text,
        "streaming": False,
        "isError": False,
        "waitForAnswer": False,
        "metadata": {},
    }
