-- name: archive(session_id, owner)^
-- Archive a session, which is final: nothing can be appended to it or removed from it afterwards.
--
-- One statement: The update uses the newest version of the row, even if the status changed after the
--   statement began. If the status must not change, it writes the old values back. With `owner`, another
--   user's session behaves as if it did not exist.
-- Index: sessions_pkey; a change of status writes to the indexes of the lists.
-- Rows locked: the session's row, until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(1) in the session's messages;
--   WAL O(1) in the session's messages; at most 22 buffers; at most 7 WAL records; at most 10 ms of CPU;
--   no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions; 1 row of sessions
-- Never: Seq Scan
-- Repeat: safe: archived is final.
-- Returns: SessionRecord; the current row; no row if the session is not stored. A session that was already
--   archived does not change, and keeps its archived_at.
UPDATE sessions AS s SET
    status = 'archived',
    archived_at = CASE
        WHEN s.status = 'archived' THEN s.archived_at
        WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
        ELSE greatest(s.updated_at, statement_timestamp())
    END,
    updated_at = CASE
        WHEN s.status = 'archived' THEN s.updated_at
        WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
        ELSE greatest(s.updated_at, statement_timestamp())
    END,
    listed_at = CASE WHEN s.status = 'archived' THEN s.listed_at ELSE statement_timestamp() END
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
