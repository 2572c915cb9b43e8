-- name: replace_from(session_id, sequence, change_id, keep, if_next, session_changes, message_ids, roles, agent_ids, contents, metadata, owner)
-- Remove the messages from a sequence number on, and append others in their place, for example a new answer.
--
-- One statement: One call of dal_replace_from, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, messages_pkey, messages_message_id_key, changes_pkey.
-- Rows locked: the session's row, until the commit, then the removed messages.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages
-- Never: none
-- Repeat: safe: the repeated statement finds the change_id, changes nothing more, and finds the new
--   messages by their ids, unless they were removed since.
-- Returns: ReplacedRow; in the given order; no row if the session is not stored, or if nothing could be
--   stored or kept. One row per new message; if none was stored, there is one row without a position. If the
--   session is archived, trashed or deleted, or not as if_next asks, nothing changes and is_refused is true.
--   If a message that stays has a given id, nothing changes, and is_same is false for that one.
SELECT
    r.is_refused,
    r.is_stale,
    r.place AS position,
    r.sequence,
    r.created_at,
    r.is_same
FROM dal_replace_from(
    :session_id::text,
    :sequence::bigint,
    :change_id::text,
    :keep::boolean,
    :if_next::bigint,
    :session_changes::jsonb,
    :message_ids::text[],
    :roles::text[],
    :agent_ids::text[],
    :contents::text[],
    :metadata::jsonb[],
    :owner::text
) AS r;
