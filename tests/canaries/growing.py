"""Faster growth, more statements or more locks than promised."""

from canaries.canary import Canary

_TOUCH = (
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " UPDATE sessions SET updated_at = updated_at WHERE session_id = NEW.session_id;"
    " UPDATE sessions SET updated_at = updated_at WHERE session_id = NEW.session_id; RETURN NEW; END $$;"
    "CREATE TRIGGER touch AFTER INSERT ON messages FOR EACH ROW WHEN (NEW.role = 'user') EXECUTE FUNCTION touch();"
)

GROWING = {
    "COUNT for the next number": Canary(
        "messages.append",
        "buffers O(log n) in the session's messages",
        edits=(
            (
                "        s.sequence,\n        :message_id::text",
                (
                    "        (SELECT count(*) FROM messages AS c WHERE c.session_id = :session_id::text),\n"
                    "        :message_id::text"
                ),
            ),
        ),
    ),
    "MAX + 1, without the session's row": Canary(
        "messages.append",
        "1 row of sessions locked",
        edits=(
            ("session AS (\n    INSERT", "opened AS (\n    INSERT"),
            (
                (
                    "DO UPDATE SET\n"
                    "        next_sequence = s.next_sequence + 1,\n"
                    "        message_count = s.message_count + 1,\n"
                    "        updated_at = CASE\n"
                    "            WHEN s.updated_at > excluded.updated_at + interval '1 hour' THEN excluded.updated_at\n"
                    "            ELSE greatest(s.updated_at, excluded.updated_at)\n"
                    "        END,\n"
                    "        listed_at = CASE\n"
                    "            WHEN\n"
                    "                excluded.updated_at < s.listed_at + interval '1 minute'\n"
                    "                AND s.listed_at < excluded.updated_at + interval '1 hour'\n"
                    "                THEN s.listed_at\n"
                    "            ELSE excluded.updated_at\n"
                    "        END,\n"
                    "        metadata = CASE\n"
                    "            WHEN :session_changes::jsonb IS NULL THEN s.metadata\n"
                    "            ELSE (s.metadata || :session_changes::jsonb)::dal_object\n"
                    "        END\n"
                    "    WHERE\n"
                    "        s.status IN ('active', 'paused')\n"
                    "        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)\n"
                    "        AND (:if_next::bigint IS NULL OR s.next_sequence = :if_next::bigint)\n"
                    "    RETURNING s.session_id, s.next_sequence - 1 AS sequence, s.updated_at\n),"
                ),
                (
                    "DO NOTHING\n    RETURNING s.session_id\n),\n\nsession AS (\n"
                    "    SELECT m.session_id, max(m.sequence) + 1 AS sequence, now() AS updated_at FROM messages AS m\n"
                    "    WHERE m.session_id = :session_id::text\n"
                    "        AND :if_next::bigint IS NULL AND :session_changes::jsonb IS NULL\n"
                    "    GROUP BY m.session_id\n),"
                ),
            ),
        ),
    ),
    "a jsonb array that is rewritten by each append": Canary(
        "messages.append",
        "WAL O(1) in the session's messages",
        edits=(
            (
                "IS NULL THEN s.metadata\n",
                (
                    "IS NULL THEN jsonb_build_object('messages', (SELECT jsonb_agg(md5(c.message_id))"
                    " FROM messages AS c WHERE c.session_id = :session_id::text))\n"
                ),
            ),
        ),
    ),
    "a second statement": Canary("messages.append", "1 round trip", rerun="SELECT 1"),
    "N + 1: a statement for each row": Canary(
        "messages.latest", "1 round trip", rerun="SELECT 1 FROM messages LIMIT 1"
    ),
    "an index on updated_at": Canary("messages.append", "HOT", schema="CREATE INDEX late ON sessions (updated_at);"),
    "an expression index over updated_at": Canary(
        "sessions.update_metadata",
        "HOT",
        schema="CREATE INDEX late ON sessions ((updated_at AT TIME ZONE 'UTC'));",
    ),
    "wide columns between hot ones": Canary(
        "messages.append",
        "WAL O(1) in the session's metadata",
        schema="ALTER TABLE sessions DROP COLUMN updated_at CASCADE;"
        "ALTER TABLE sessions ADD COLUMN updated_at timestamptz NOT NULL;",
    ),
    "a lost index on agents": Canary(
        "sessions.agent_ids", "buffers O(log n) in the session's messages", schema="DROP INDEX messages_by_agent;"
    ),
    "a lost index on recency": Canary(
        "sessions.list", "buffers O(log n) in the sessions", schema="DROP INDEX sessions_listed;"
    ),
    "an OFFSET page": Canary(
        "messages.after",
        "buffers O(log n) in the session's messages",
        edits=(
            ("    AND m.sequence > :after::bigint\n", ""),
            ("ORDER BY m.sequence\n", "ORDER BY m.sequence\nOFFSET greatest(0, :after::bigint)\n"),
        ),
    ),
    "an OR that defeats the index": Canary(
        "sessions.list_of_user",
        "buffers O(log n) in the sessions",
        edits=(
            (" s.user_id = :user_id::text", " (s.user_id = :user_id::text OR s.parent_id = :user_id::text)"),
            (" f.user_id = :user_id::text", " (f.user_id = :user_id::text OR f.parent_id = :user_id::text)"),
        ),
    ),
    "an optional filter in one query": Canary(  # Its custom plan is as good as ours.
        "sessions.list_of_user",
        "buffers O(log n) in the sessions",
        edits=(
            (" s.user_id = :user_id::text", " (:user_id::text IS NULL OR s.user_id = :user_id::text)"),
            (" f.user_id = :user_id::text", " (:user_id::text IS NULL OR f.user_id = :user_id::text)"),
        ),
        plan="generic",
    ),
    "GROUP BY over all messages": Canary(
        "sessions.agent_ids",
        "buffers O(log n) in the session's messages",
        edits=(
            (
                "FROM agent AS a\n    ) AS found",
                (
                    "FROM (SELECT m.agent_id, min(m.sequence) AS sequence FROM messages AS m\n"
                    "        WHERE m.session_id = s.session_id AND m.agent_id IS NOT NULL GROUP BY m.agent_id) AS a\n"
                    "    ) AS found"
                ),
            ),
        ),
    ),
    "an order without an index": Canary(
        "messages.latest",
        "buffers O(log n) in the session's messages",
        edits=(("    ORDER BY m.sequence DESC", "    ORDER BY m.created_at DESC, m.sequence DESC"),),
    ),
    "a page with a total count": Canary(
        "sessions.list",
        "rows O(1) in the sessions",
        edits=(("FROM unnest", ", (SELECT count(*) FROM sessions) AS total\nFROM unnest"),),
    ),
    "a limit in the wrong place": Canary(
        "sessions.list",
        "buffers O(log n) in the sessions",
        edits=(("    ORDER BY s.listed_at DESC, s.session_id DESC\n    LIMIT :limit::bigint\n", ""),),
    ),
    "a function around the key": Canary(
        "sessions.get",
        "buffers O(log n) in the sessions",
        edits=(("WHERE s.session_id = :session_id", "WHERE lower(s.session_id) = :session_id"),),
    ),
    "a sequential scan in the plan": Canary(
        "messages.get",
        "never Seq Scan",
        edits=(("m.message_id = :message_id::text", "m.message_id || '' = :message_id::text"),),
        schema="ALTER TABLE messages DROP CONSTRAINT messages_pkey; DROP INDEX messages_by_agent;"
        "ALTER TABLE messages DROP CONSTRAINT messages_message_id_key;",
    ),
    "a lock that a read does not need": Canary(
        "sessions.get",
        "AccessShare on sessions",
        edits=(
            (
                "s.user_id IS NOT DISTINCT FROM :owner::text);",
                "s.user_id IS NOT DISTINCT FROM :owner::text)\nFOR UPDATE;",
            ),
        ),
    ),
    "a trigger that counts": Canary(
        "messages.append",
        "buffers O(log n) in the session's messages",
        schema="CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM count(*) FROM messages WHERE session_id = NEW.session_id; RETURN NEW; END $$;"
        "CREATE TRIGGER tally AFTER INSERT ON messages FOR EACH ROW WHEN (NEW.role = 'user') EXECUTE FUNCTION tally();",
    ),
    "a foreign key without an index": Canary(
        "sessions.delete",
        "buffers O(log n) in the sessions",
        schema="ALTER TABLE messages DROP CONSTRAINT messages_pkey; DROP INDEX messages_by_agent;"
        "ALTER TABLE messages DROP CONSTRAINT messages_message_id_key;",
    ),
    "an extra row version per append": Canary(
        "messages.append",
        "held snapshot: buffers O(n) in the appends since, at most n/30",
        schema=_TOUCH,
    ),
    "an extra row version per append, seen by a read": Canary(
        "sessions.get", "held snapshot: buffers O(n) in the appends since, at most n/50", schema=_TOUCH
    ),
}
