"""OpenAI Agents SDK: SQLAlchemySession."""

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from layers import Layer, url


class OpenAIAgents(Layer):
    title = "OpenAI Agents SDK, `SQLAlchemySession`"
    packages = ("openai-agents", "sqlalchemy", "asyncpg")
    call = '`SQLAlchemySession(id, engine=engine).add_items([{"role": "user", "content": text}])`'
    beside = (
        "It creates the session's row if it is missing, locks it, and updates its time. Messages are ordered by the "
        "times at which their transactions began, not by the order in which they got the lock. A new object compiles "
        "its statements again, which makes its first append slower; this was not counted."
    )

    async def open(self, conninfo):
        self.engine = create_async_engine(url(conninfo, "asyncpg"))
        await SQLAlchemySession("any", engine=self.engine, create_tables=True).get_items()

    async def close(self):
        await self.engine.dispose()

    async def begin(self, session_id):
        session = SQLAlchemySession(session_id, engine=self.engine)

        async def append(text):
            await session.add_items([item(text)])

        return append

    async def fill(self, session_id, texts):
        # The messages of one call have one time, and are read in the order of their ids.
        await SQLAlchemySession(session_id, engine=self.engine).add_items([item(text) for text in texts])

    async def read(self, session_id):
        return [one["content"] for one in await SQLAlchemySession(session_id, engine=self.engine).get_items()]


def item(text):
    return {"role": "user", "content": text}
