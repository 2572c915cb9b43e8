"""Faults that need uneven data, full pages, or a call that writes new values."""

from canaries.canary import Canary, quick

_RAISED = "        message_count = s.message_count + 1,\n"
_RAISED_BY = "        message_count = s.message_count + excluded.message_count,\n"
_ALL_OF_THE_OWNER = (
    """SELECT s.user_id
        FROM sessions AS s
        WHERE s.session_id = p.session_id
    );""",
    """SELECT max(s.user_id)
        FROM sessions AS s
        WHERE s.user_id = (SELECT :owner::text) AND s.session_id || '' = p.session_id
    );""",
)
_FULL = "ALTER TABLE sessions SET (fillfactor = 100);"
_DAY = """
ALTER TABLE sessions ADD COLUMN day timestamp;
CREATE INDEX by_day ON sessions (day);
CREATE FUNCTION note_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.day := date_trunc('day', NEW.created_at::timestamp);
    RETURN NEW;
END $$;
CREATE TRIGGER note_day BEFORE INSERT OR UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION note_day();
"""

UNEVEN = {
    "a status that each append sets": Canary(
        "messages.append",
        "HOT",
        edits=((_RAISED, f"{_RAISED}        status = 'active',\n"),),
        axis="the session's metadata",
        quick=True,
    ),
    "a source that each append overwrites": quick(
        "messages.append", "HOT", (_RAISED, f"{_RAISED}        source = excluded.source,\n")
    ),
    "a source that each batch overwrites": quick(
        "messages.append_all", "HOT", (_RAISED_BY, f"{_RAISED_BY}        source = excluded.source,\n")
    ),
    "pages without room for the next version": quick("messages.append", "HOT", schema=_FULL),
    "pages without room for other metadata": quick("sessions.update_metadata", "HOT", schema=_FULL),
    "an index of all agents, although most messages have none": Canary(
        "messages.append",
        "at most * WAL records",
        schema="DROP INDEX messages_by_agent;"
        "CREATE INDEX messages_by_agent ON messages (session_id, agent_id, sequence);",
        axis="the sessions",
    ),
    "an index of all users, although some sessions have none": Canary(
        "messages.append",
        "at most * WAL records",
        schema="DROP INDEX sessions_listed_of_user;"
        "CREATE INDEX sessions_listed_of_user ON sessions (user_id, status, listed_at, session_id);",
        axis="the sessions",
    ),
    "ids that are compared by another collation": Canary(
        "sessions.get",
        "buffers O(log n) in the sessions*",
        edits=(("s.session_id = :session_id::text", 's.session_id = :session_id::text COLLATE "POSIX"'),),
    ),
    "an indexed day that depends on the time zone": quick("messages.append", "HOT", schema=_DAY),
    "a resent message that reads all of the owner's sessions": Canary(
        "messages.append", "buffers O(log n) in the user's sessions*", edits=(_ALL_OF_THE_OWNER,)
    ),
    "a resent removal that reads all of the owner's sessions": Canary(
        "messages.remove_from", "buffers O(log n) in the user's sessions*", edits=(_ALL_OF_THE_OWNER,)
    ),
}
