-- name: update_metadata(session_id, metadata, remove, touch, change_id, owner)^
-- Remove keys from a session's metadata, then merge others into it; an existing key gets the new value. This
-- works for archived sessions, too, since titles and ratings are often added after a session has ended.
--
-- One statement: One call of dal_update_metadata, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, changes_pkey; writes to no index of sessions (HOT), unless it moves the session up
--   in lists, at most once a minute.
-- Rows locked: the session's row, until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, changes; 1 row of sessions; waits for rows of sessions
-- Never: none
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing more.
-- Returns: SessionRecord; the current row; no row if the session is not stored, or if a trigger of the service
--   suppressed the change. A trashed or deleted session stays as it is, as its status shows. If two equal changes
--   run at the same time, the second waits for the first, and changes nothing.
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
    s.fork_point
FROM dal_update_metadata(
    :session_id::text, :metadata::jsonb, :remove::text[], :touch::boolean, :change_id::text, :owner::text
) AS s;
