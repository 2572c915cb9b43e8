-- name: pause(session_id, owner)^
-- Mark an active session as paused. Messages are still accepted: what a pause means is the service's.
--
-- One statement: the update itself decides by the newest version of the row, whatever the session was
--   when it began, and writes back what was there where it may not change it.
--   With an owner, a session that is not that user's is as one that is not stored.
-- Index: sessions_pkey; the change of status writes to the indexes of lists.
-- Rows locked: the session's row until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(1) in the session's messages;
--   WAL O(1) in the session's messages; at most 22 buffers; at most 7 WAL records; at most 10 ms of CPU;
--   no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions; 1 row of sessions
-- Never: Seq Scan
-- Repeat: safe: the status is what it would be if it had been sent later.
-- Returns: SessionRecord; as it is now; no row when no such session is stored.
--   An archived session stays archived: the status tells. A paused one stays as it is.
UPDATE sessions AS s SET
    status = CASE WHEN s.status = 'active' THEN 'paused' ELSE s.status END,
    updated_at = CASE
        WHEN s.status <> 'active' THEN s.updated_at
        WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
        ELSE greatest(s.updated_at, statement_timestamp())
    END,
    listed_at = CASE WHEN s.status <> 'active' THEN s.listed_at ELSE statement_timestamp() END
WHERE s.session_id = :session_id::text AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
RETURNING
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
    s.archived_at;
