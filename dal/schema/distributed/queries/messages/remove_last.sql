-- name: remove_last(session_id, n, change_id, keep, if_next, owner)
-- Remove the last messages, and return them. Their numbers are not used again.
--
-- One statement: One call of dal_remove, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, messages_pkey backwards, changes_pkey; removed_messages_pkey for a repeated
--   removal.
-- Rows locked: the session's row, until the commit, then the removed messages.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages
-- Never: none
-- Repeat: safe: the repeated statement finds the change_id, removes nothing more, and returns the messages from
--   removed_messages. Without `keep` it returns only their number, since they were not kept.
-- Returns: RemovedRow; in the order of sequence; no row if the session is not stored. Each row has the number
--   of removed messages; if none was removed, there is one row without a message. If the session is archived,
--   trashed or deleted, or its next number is not `if_next`, nothing is removed and is_refused is true.
SELECT
    r.messages,
    r.is_refused,
    r.is_stale,
    r.session_id,
    r.sequence,
    r.message_id,
    r.role,
    r.agent_id,
    r.content,
    r.metadata,
    r.created_at
FROM dal_remove(
    :session_id::text,
    NULL,
    :n::bigint,
    :change_id::text,
    :keep::boolean,
    :if_next::bigint,
    :owner::text,
    true
) AS r;
