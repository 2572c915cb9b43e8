-- name: append_all(session_ids, sources, user_ids, parent_ids, session_metadata, must_exist, confined, patience, if_next, session_changes, places, calls, message_ids, roles, agent_ids, contents, metadata)
-- Append messages to any number of sessions, in the given order. Sessions that do not exist are created.
-- All messages of a call are stored, or none of them; calls do not depend on each other.
--
-- One statement: One call of dal_append_all, which runs on the worker that has the first session's shard. For
--   sessions on other workers, it sends statements there. Citus chooses the worker by the function's first argument,
--   so the first id is also passed on its own.
-- Index: sessions_pkey, messages_message_id_key; the insert writes to all three indexes of messages.
-- Rows locked: the sessions' rows, until the commit, in the order of shard and session_id, so that two of these
--   statements never deadlock. Waits only for other writers of the same sessions.
-- Promises: 1 round trip
-- Remote commands: 1; 0 for each of the given sessions
-- Locks: RowExclusive on sessions, messages; any rows of sessions FOR NO KEY UPDATE;
--   waits for rows of sessions
-- Never: none
-- Repeat: safe: as append, it finds the message_ids.
-- Returns: AppendedOne; in the given order; no row for a message that was not stored. Then no message of its call
--   was stored, since one of them has is_same = false (its message_id is stored with other content), or the session
--   is archived, trashed or deleted, or not as if_next and must_exist ask. A message that a trigger of the service
--   suppressed has no row either. A message that was already stored with the same content keeps its number. If two
--   equal appends run at the same time, the second waits for the first and fails with 40001; it is safe to repeat.
SELECT
    a.place AS position,
    a.sequence,
    a.created_at,
    a.is_same
FROM dal_append_all(
    (:session_ids::text[])[1],
    :session_ids::text[],
    :sources::text[],
    :user_ids::text[],
    :parent_ids::text[],
    :session_metadata::jsonb[],
    :must_exist::boolean[],
    :confined::boolean,
    :patience::text,
    :if_next::bigint,
    :session_changes::jsonb,
    :places::bigint[],
    :calls::bigint[],
    :message_ids::text[],
    :roles::text[],
    :agent_ids::text[],
    :contents::text[],
    :metadata::jsonb[]
) AS a;
