-- name: remove_from(session_id, sequence, change_id, keep, if_next, owner)^
-- Remove the messages from a sequence number on, for example to regenerate an answer. Their numbers are not
-- used again.
--
-- One statement: One call of dal_remove, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, messages_pkey, changes_pkey.
-- Rows locked: the session's row, until the commit, then the removed messages.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages
-- Never: none
-- Repeat: safe: the repeated statement finds the change_id, and removes nothing more. If the first one still runs,
--   it waits for that one.
-- Returns: Removed; no row if the session is not stored, or if nothing could be kept. If the session is
--   archived, trashed or deleted, or not as if_next asks, nothing is removed and is_refused is true. The same
--   change_id again returns the first outcome.
SELECT
    r.messages,
    r.is_refused,
    r.is_stale
FROM dal_remove(
    :session_id::text,
    :sequence::bigint,
    NULL,
    :change_id::text,
    :keep::boolean,
    :if_next::bigint,
    :owner::text,
    false
) AS r;
