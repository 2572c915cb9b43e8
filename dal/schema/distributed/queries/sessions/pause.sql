-- name: pause(session_id, change_id, owner)^
-- Mark an active session as paused. It still accepts messages; the service decides what a pause means.
--
-- One statement: One call of dal_change_status, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, changes_pkey; a change of status writes to the indexes of the lists.
-- Rows locked: the session's row, until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, changes; 1 row of sessions
-- Never: none
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing.
-- Returns: SessionRecord; the current row; no row if the session is not stored. Its status is paused, or the one
--   that cannot be paused. If two equal changes run at the same time, the second waits for the first, and changes
--   nothing.
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
FROM dal_change_status(
    :session_id::text, 'pause', :change_id::text, NULL, :owner::text
) AS s;
