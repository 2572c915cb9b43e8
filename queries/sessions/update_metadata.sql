-- name: update_metadata(session_id, metadata, remove, touch, change_id, owner)^
-- Remove keys from a session's metadata, then merge others into it; an existing key gets the new value. This
-- works for archived sessions, too, since titles and ratings are often added after a session has ended.
--
-- One statement: The change uses the newest version of the locked row, so no concurrent change is lost, as
--   it could be by reading, changing and writing back. If nothing would change, nothing is written. Without
--   `touch`, the session keeps its times, and so its place in lists. With `owner`, another user's session
--   behaves as if it did not exist.
-- Index: sessions_pkey, changes_pkey; writes to no index of sessions (HOT), unless it moves the session up
--   in lists, at most once a minute.
-- Rows locked: the session's row, until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip; HOT; buffers O(log n) in the sessions; buffers O(1) in the session's messages;
--   WAL O(1) in the session's messages; buffers O(log n) in the session's changes; at most 38 buffers;
--   at most 7 WAL records; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, changes; 1 row of sessions; waits for rows of sessions
-- Never: Seq Scan on sessions
-- Repeat: safe: the repeated statement finds the change_id, and changes nothing more.
-- Returns: SessionRecord; the current row; no row if the session is not stored, or if a trigger of the
--   service suppressed the change. A trashed or deleted session stays as it is, as its status shows. If two
--   equal changes run at the same time, the second waits for the first and fails with 23505; it is safe to
--   repeat.
WITH prior AS (
    SELECT c.change_id
    FROM changes AS c
    WHERE c.session_id = :session_id::text AND c.change_id = :change_id::text
),

session AS MATERIALIZED (
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
        CASE
            WHEN s.status IN ('trashed', 'deleted') OR EXISTS (SELECT FROM prior) THEN s.metadata
            ELSE (s.metadata - (SELECT :remove::text[])) || :metadata::jsonb
        END AS wanted
    FROM sessions AS s
    WHERE
        s.session_id = :session_id::text
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
    FOR NO KEY UPDATE
),

updated AS (
    UPDATE sessions AS s SET
        metadata = o.wanted,
        revision = s.revision + 1,
        updated_at = CASE
            WHEN NOT :touch::boolean THEN s.updated_at
            WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
            ELSE greatest(s.updated_at, statement_timestamp())
        END,
        listed_at = CASE
            WHEN
                NOT :touch::boolean
                OR (
                    statement_timestamp() < s.listed_at + interval '1 minute'
                    AND s.listed_at < statement_timestamp() + interval '1 hour'
                )
                THEN s.listed_at
            ELSE statement_timestamp()
        END
    FROM session AS o
    WHERE s.session_id = :session_id::text AND o.wanted::text <> o.metadata::text
    RETURNING s.metadata, s.updated_at, s.revision
),

noted AS (
    INSERT INTO changes AS c (session_id, change_id, revision, kind, changed_at)
    SELECT
        (SELECT :session_id::text) AS session_id,
        (SELECT :change_id::text) AS change_id,
        u.revision,
        'metadata' AS kind,
        statement_timestamp() AS changed_at
    FROM updated AS u
),

pruned AS (
    DELETE FROM changes AS c
    USING (
        SELECT o.change_id
        FROM changes AS o
        WHERE o.session_id = :session_id::text AND EXISTS (SELECT FROM updated)
        ORDER BY o.change_id
        LIMIT 2
    ) AS oldest
    WHERE
        c.session_id = :session_id::text
        AND c.change_id = oldest.change_id
        AND c.changed_at < statement_timestamp() - interval '1 hour'
)

SELECT
    o.session_id,
    o.source,
    o.user_id,
    o.parent_id,
    o.status,
    o.next_sequence,
    o.message_count,
    o.agent_ids,
    coalesce(u.metadata, o.metadata) AS metadata,
    o.created_at,
    coalesce(u.updated_at, o.updated_at) AS updated_at,
    o.archived_at,
    coalesce(u.revision, o.revision) AS revision,
    o.fork_point
FROM session AS o
LEFT JOIN updated AS u ON true
WHERE u.revision IS NOT NULL OR o.wanted::text = o.metadata::text;
