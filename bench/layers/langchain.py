"""LangChain: PostgresChatMessageHistory."""

import psycopg
from langchain_core.messages import HumanMessage
from langchain_postgres import PostgresChatMessageHistory
from psycopg_pool import ConnectionPool

from layers import Layer

TABLE = "chat_history"


class LangChain(Layer):
    title = "langchain-postgres, `PostgresChatMessageHistory`"
    packages = ("langchain-postgres", "psycopg")
    call = "`PostgresChatMessageHistory(table, id, sync_connection=connection).add_messages([HumanMessage(text)])`"
    beside = (
        "It stores only messages: there is no row for a session. It gets a connection, here from a pool with "
        "psycopg's defaults, as in its documentation, and commits. Messages are ordered by a serial column, which "
        "does not follow the order of the commits."
    )
    threads = True

    async def open(self, conninfo):
        with psycopg.connect(conninfo) as connection:
            PostgresChatMessageHistory.create_tables(connection, TABLE)
        self.pool = ConnectionPool(conninfo, min_size=1, max_size=10, open=True)

    async def close(self):
        self.pool.close()

    async def begin(self, session_id):
        async def append(text):
            self._add(session_id, [text])

        return append

    async def fill(self, session_id, texts):
        self._add(session_id, texts)

    async def read(self, session_id):
        with self.pool.connection() as connection:
            history = PostgresChatMessageHistory(TABLE, session_id, sync_connection=connection)
            return [message.content for message in history.get_messages()]

    def _add(self, session_id, texts):
        with self.pool.connection() as connection:
            history = PostgresChatMessageHistory(TABLE, session_id, sync_connection=connection)
            history.add_messages([HumanMessage(text) for text in texts])
