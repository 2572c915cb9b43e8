"""Calls that wait for other transactions, or block them, more than promised."""

from canaries.canary import quick

_LAST = """last AS MATERIALIZED (
    SELECT m.sequence FROM messages AS m WHERE m.session_id = :session_id::text
    ORDER BY m.sequence DESC LIMIT 1 FOR KEY SHARE
),

prior AS ("""

_HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM FROM messages WHERE session_id = NEW.session_id ORDER BY sequence LIMIT 1 FOR SHARE;
    RETURN NEW;
END $$;
CREATE TRIGGER hold AFTER INSERT ON messages FOR EACH ROW WHEN (NEW.role = 'user') EXECUTE FUNCTION hold();
"""

_QUEUE_UP = """
CREATE FUNCTION queue_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sessions'));
    RETURN NEW;
END $$;
CREATE TRIGGER queue_up BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION queue_up();
"""

LOCKING = {
    "a cache that waits for its row": quick(
        "sessions.agent_ids", "waits for nobody", ("FOR NO KEY UPDATE SKIP LOCKED", "FOR NO KEY UPDATE")
    ),
    "a cache that fails when its row is locked": quick(
        "sessions.agent_ids", "waits for nobody", ("FOR NO KEY UPDATE SKIP LOCKED", "FOR NO KEY UPDATE NOWAIT")
    ),
    "a clean-up that waits for writers": quick(
        "sessions.delete_idle",
        "waits for rows of messages, removed_messages, changes",
        ("FOR UPDATE SKIP LOCKED", "FOR UPDATE"),
    ),
    "a clean-up of one user's sessions that waits for writers": quick(
        "sessions.delete_idle_of_user",
        "waits for rows of messages, removed_messages, changes",
        ("FOR UPDATE SKIP LOCKED", "FOR UPDATE"),
    ),
    "an append that waits for a message": quick(
        "messages.append",
        "waits for rows of sessions",
        ("prior AS (", _LAST),
        (
            "NOT EXISTS (SELECT FROM prior)",
            "NOT EXISTS (SELECT FROM prior) AND (SELECT count(*) FROM last) < 2",
        ),
    ),
    "a row lock that blocks foreign keys": quick(
        "messages.remove_from", "1 row of sessions locked", ("FOR NO KEY UPDATE", "FOR UPDATE")
    ),
    "a change of status that blocks foreign keys": quick(
        "sessions.pause",
        "1 row of sessions locked",
        ("FOR NO KEY UPDATE", "FOR UPDATE"),
    ),
    "a cache that blocks foreign keys": quick(
        "sessions.agent_ids", "any rows of sessions locked FOR NO KEY UPDATE", ("NO KEY UPDATE SKIP", "UPDATE SKIP")
    ),
    "a lock on a message in addition to its session": quick(
        "messages.append", "no row of messages locked", schema=_HOLD
    ),
    "a global advisory lock": quick(
        "messages.append",
        "no advisory lock",
        (
            "    WHERE\n        NOT EXISTS (SELECT FROM prior)",
            "    FROM pg_advisory_xact_lock(7)\n    WHERE\n        NOT EXISTS (SELECT FROM prior)",
        ),
    ),
    "a shared advisory lock around a read": quick(
        "messages.latest",
        "no advisory lock",
        ("LIMIT :limit::bigint", "LIMIT :limit::bigint + length(pg_advisory_xact_lock_shared(7)::text)"),
    ),
    "an advisory lock that a trigger takes": quick("sessions.pause", "no advisory lock", schema=_QUEUE_UP),
}
