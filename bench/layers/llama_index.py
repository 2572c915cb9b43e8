"""LlamaIndex: PostgresChatStore."""

from llama_index.core.llms import ChatMessage
from llama_index.storage.chat_store.postgres import PostgresChatStore

from layers import Layer, url


class LlamaIndex(Layer):
    title = "llama-index, `PostgresChatStore`"
    packages = ("llama-index-storage-chat-store-postgres", "llama-index-core", "sqlalchemy", "asyncpg")
    call = '`store.async_add_message(id, ChatMessage(role="user", content=text))`'
    beside = "A session is one row with an array of its messages, which the server rewrites for each message."

    async def open(self, conninfo):
        self.store = PostgresChatStore.from_params(
            connection_string=url(conninfo, "psycopg"), async_connection_string=url(conninfo, "asyncpg")
        )

    async def close(self):
        await self.store._async_session.kw["bind"].dispose()  # noqa: SLF001 - it has no close()
        self.store._session.kw["bind"].dispose()  # noqa: SLF001

    async def begin(self, session_id):
        async def append(text):
            await self.store.async_add_message(session_id, message(text))

        return append

    async def fill(self, session_id, texts):
        await self.store.aset_messages(session_id, [message(text) for text in texts])

    async def read(self, session_id):
        return [one.content for one in await self.store.aget_messages(session_id)]


def message(text):
    return ChatMessage(role="user", content=text)
