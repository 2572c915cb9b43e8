"""Agno: PostgresDb."""

import time
import uuid

from agno.db.postgres import PostgresDb
from agno.models.message import Message
from agno.run.agent import RunOutput
from agno.run.base import RunStatus
from agno.session import AgentSession

from layers import Layer, url


class Agno(Layer):
    title = "agno, `PostgresDb`"
    packages = ("agno", "sqlalchemy", "psycopg")
    call = "`db.upsert_run(RunOutput(run_id=…, messages=[Message(…)]), session_id=id)`"
    beside = (
        "It stores a run, here of one message, with its status; storing the same run again replaces it. An `Agent` "
        "also upserts the session's own row, in another call, and numbers the run by the runs that it has loaded; "
        "neither was counted. Here the call numbers the run, under an advisory lock. The pool checks that a "
        "connection is alive before using it. There is no call for many runs, so the sessions were filled one run at "
        "a time."
    )
    threads = True

    async def open(self, conninfo):
        self.db = PostgresDb(db_url=url(conninfo, "psycopg"))

    async def close(self):
        self.db.close()

    async def begin(self, session_id):
        async def append(text):
            self.db.upsert_run(run(session_id, text), session_id=session_id)

        return append

    async def fill(self, session_id, texts):
        self.db.upsert_session(AgentSession(session_id=session_id, agent_id="agent", created_at=int(time.time())))
        for text in texts:
            self.db.upsert_run(run(session_id, text), session_id=session_id)

    async def read(self, session_id):
        return [one.messages[0].content for one in self.db.get_session(session_id).runs or ()]


def run(session_id, text):
    return RunOutput(
        run_id=str(uuid.uuid4()),
        agent_id="agent",
        session_id=session_id,
        messages=[Message(role="user", content=text)],
        status=RunStatus.completed,
    )
