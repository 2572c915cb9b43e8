-- name: fork(session_id, fork_id, fork_point, metadata, owner)^
-- Create a session with the messages of another one before a sequence number. They keep their numbers, ids
-- and times.
--
-- One statement: One call of dal_fork, which runs on the node that the client is connected to, since the two
--   sessions may be on different workers. It reads the parent's counters, then copies the messages. If anything
--   but an append changes the parent in between, the call fails with 40001; it is safe to repeat.
-- Index: sessions_pkey, messages_pkey; the insert writes to all indexes of both tables.
-- Rows locked: the parent's row FOR KEY SHARE, until the commit, which blocks no append or removal. A
--   deletion waits for the fork, and the fork for a deletion.
-- Promises: 1 round trip
-- Remote commands: at most 12
-- Locks: RowExclusive on sessions, messages; waits for rows of sessions
-- Never: none
-- Repeat: safe: the repeated statement finds the fork_id taken, and stores nothing.
-- Returns: SessionRecord; the new session; no row if the parent is not stored, trashed or deleted, or if
--   fork_id is taken.
SELECT
    f.session_id,
    f.source,
    f.user_id,
    f.parent_id,
    f.status,
    f.next_sequence,
    f.message_count,
    f.agent_ids,
    f.metadata,
    f.created_at,
    f.updated_at,
    f.archived_at,
    f.revision,
    f.fork_point
FROM dal_fork(:session_id::text, :fork_id::text, :fork_point::bigint, :metadata::jsonb, :owner::text) AS f;
