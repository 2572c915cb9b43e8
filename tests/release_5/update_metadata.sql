-- name: update_metadata(session_id, metadata, owner)^
-- Merge keys into a session's metadata; an existing key gets the new value. This works for every status,
-- since titles and ratings are often added after a session has ended.
--
-- One statement: The merge uses the newest version of the row, so no concurrent merge is lost, as it could
--   be by reading, changing and writing back. With `owner`, another user's session behaves as if it did
--   not exist.
-- Index: sessions_pkey; writes to no index (HOT), unless it moves the session up in lists, at most once a
--   minute.
-- Rows locked: the session's row, until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip; HOT; buffers O(log n) in the sessions; buffers O(1) in the session's messages;
--   WAL O(1) in the session's messages; at most 9 buffers; at most 4 WAL records; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Locks: RowExclusive on sessions; 1 row of sessions
-- Never: Seq Scan
-- Repeat: safe: the result is the same as if the call had been sent later.
-- Returns: SessionRecord; the current row; no row if the session is not stored.
UPDATE sessions AS s SET
    metadata = s.metadata || :metadata::jsonb,
    updated_at = CASE
        WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
        ELSE greatest(s.updated_at, statement_timestamp())
    END,
    listed_at = CASE
        WHEN
            statement_timestamp() < s.listed_at + interval '1 minute'
            AND s.listed_at < statement_timestamp() + interval '1 hour'
            THEN s.listed_at
        ELSE statement_timestamp()
    END
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
