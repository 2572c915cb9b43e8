-- name: get(session_id, owner)^
-- Read a session's row.
--
-- One statement: One index lookup. With `owner`, another user's session behaves as if it did not exist.
-- Index: sessions_pkey.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; at most 6 buffers; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/50
-- Locks: AccessShare on sessions
-- Never: Seq Scan; Sort
-- Repeat: safe: it only reads.
-- Returns: SessionRecord; no row if the session is not stored.
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
FROM sessions AS s
WHERE s.session_id = :session_id::text AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text);
