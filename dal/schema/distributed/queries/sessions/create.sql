-- name: create(session_id, source, user_id, parent_id, session_metadata, again, owner)^
-- Store a session without a message. With `again`, begin another session with the id of a deleted one; its
-- numbers continue.
--
-- One statement: One call of dal_create, which runs on the worker that has the session's shard.
-- Index: sessions_pkey; the insert writes to all indexes of sessions.
-- Rows locked: the session's row, until the commit. Waits only for other writers of the same session.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions FOR UPDATE
-- Never: none
-- Repeat: safe: the repeated statement finds the session with the same values.
-- Returns: CreatedSession; the stored row; no row if the session was deleted and `again` is not set, or was
--   created by another transaction at this moment: repeat the statement to see that one. If the session was
--   stored before, it does not change, and is_same is false if its source, user_id, parent_id or metadata
--   differ.
SELECT
    s.session_id,
    s.source,
    s.user_id,
    s.parent_id,
    s.status,
    s.next_sequence,
    s.message_count,
    s.agent_ids,
    s.metadata,
    s.created_at,
    s.updated_at,
    s.archived_at,
    s.revision,
    s.fork_point,
    s.is_same
FROM dal_create(
    :session_id::text,
    :source::text,
    :user_id::text,
    :parent_id::text,
    :session_metadata::jsonb,
    :again::boolean,
    :owner::text
) AS s;
