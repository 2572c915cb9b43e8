-- name: append(session_id, source, user_id, parent_id, session_metadata, message_id, role, agent_id, content, metadata, owner, if_next, must_exist, session_changes)^
-- Append one message to a session. The first append creates the session.
--
-- One statement: One call of dal_append, which runs on the worker that has the session's shard. There it sends
--   a few statements, in one transaction. A temporary table cannot hide the library's tables from it.
-- Index: sessions_pkey, messages_message_id_key; the insert writes to all three indexes of messages.
-- Rows locked: the session's row, until the commit. Waits only for other writers of the same session.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages; 1 row of sessions; waits for rows of sessions
-- Never: none
-- Repeat: safe: the repeated statement finds the message_id and returns the first outcome. If the message
--   was removed in between, it is stored again, as if the removal had been first.
-- Returns: Appended; no row if the session does not contain the message, and is archived, trashed or deleted, or
--   not as if_next and must_exist ask. If the message_id is already stored, nothing changes, and the row has the
--   stored message's number; is_same is false if its content differs, but not if keys were added to its metadata
--   since. If two equal appends run at the same time, the second waits for the first and fails with 40001; it is
--   safe to repeat. source, user_id, parent_id and session_metadata are stored with a new session, and ignored for
--   an existing one.
SELECT
    a.sequence,
    a.created_at,
    a.is_same
FROM dal_append(
    :session_id::text,
    :source::text,
    :user_id::text,
    :parent_id::text,
    :session_metadata::jsonb,
    :message_id::text,
    :role::text,
    :agent_id::text,
    :content::text,
    :metadata::jsonb,
    :owner::text,
    :if_next::bigint,
    :must_exist::boolean,
    :session_changes::jsonb
) AS a;
