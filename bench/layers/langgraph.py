"""LangGraph: PostgresSaver, under a graph whose state is its messages."""

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, MessagesState, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from layers import Layer

NODE = "chat"


class LangGraph(Layer):
    title = "langgraph, `PostgresSaver`"
    packages = ("langgraph", "langgraph-checkpoint-postgres", "psycopg")
    call = '`graph.update_state(config, {"messages": [HumanMessage(text)]})`'
    beside = (
        "It is a checkpointer: it reads the last checkpoint, and stores a new one with the whole state, including all "
        "messages. It keeps the old checkpoints, so that a graph can go back to them. If two callers read the same "
        "checkpoint, they create two branches, and the thread's state is that of the latest checkpoint: the lost "
        "messages here are those of the other branches. A `PostgresSaver` lets only one thread at a time use the "
        "database."
    )
    threads = True

    async def open(self, conninfo):
        settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        self.pool = ConnectionPool(conninfo, max_size=20, kwargs=settings, open=True)
        saver = PostgresSaver(self.pool)
        saver.setup()
        builder = StateGraph(MessagesState)
        builder.add_node(NODE, lambda state: {})
        builder.add_edge(START, NODE)
        self.graph = builder.compile(checkpointer=saver)

    async def close(self):
        self.pool.close()

    async def begin(self, session_id):
        async def append(text):
            self._add(session_id, [text])

        return append

    async def fill(self, session_id, texts):
        self._add(session_id, texts)

    async def read(self, session_id):
        return [message.content for message in self.graph.get_state(config(session_id)).values.get("messages", ())]

    def _add(self, session_id, texts):
        messages = [HumanMessage(text) for text in texts]
        self.graph.update_state(config(session_id), {"messages": messages}, as_node=NODE)


def config(session_id):
    return {"configurable": {"thread_id": session_id}}
