"""Google's Agent Development Kit: DatabaseSessionService."""

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai.types import Content, Part

from layers import Layer, url

APP, USER = "app", "user"


class GoogleADK(Layer):
    title = "google-adk, `DatabaseSessionService`"
    packages = ("google-adk", "sqlalchemy", "asyncpg")
    call = "`service.append_event(session, Event(…))`"
    beside = (
        "It locks the session's row, reads the state of the app and the user, merges the event's changes into the "
        "stored state, and refuses a session that has changed since it was loaded, here with `StaleSessionError`; one "
        "then loads it again. A request loads the session first, which was not counted. Within a process, appends to "
        "a session wait for each other. They are ordered by the times that the client gave them. The pool checks that "
        "a connection is alive before using it. There is no call for many events, so the sessions were filled one "
        "event at a time."
    )

    async def open(self, conninfo):
        self.service = DatabaseSessionService(url(conninfo, "asyncpg"))
        await self.service.prepare_tables()

    async def close(self):
        await self.service.close()

    async def begin(self, session_id):
        session = await self._load(session_id, GetSessionConfig(num_recent_events=0))

        async def append(text):
            await self.service.append_event(session, event(text))

        return append

    async def fill(self, session_id, texts):
        session = await self.service.create_session(app_name=APP, user_id=USER, session_id=session_id)
        for text in texts:
            await self.service.append_event(session, event(text))

    async def read(self, session_id):
        return [one.content.parts[0].text for one in (await self._load(session_id)).events]

    async def _load(self, session_id, config=None):
        return await self.service.get_session(app_name=APP, user_id=USER, session_id=session_id, config=config)


def event(text):
    return Event(author=USER, content=Content(role=USER, parts=[Part(text=text)]))
