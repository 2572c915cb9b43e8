-- name: create(session_id, source, user_id, parent_id, session_metadata, again, owner)^
-- Store a session without a message. With `again`, begin another session with the id of a deleted one; its
-- numbers continue.
--
-- One statement: With `again`, it deletes the tombstone first, and the insert takes over its counters. A
--   role that may not change user_id can do that. If two of these statements run at the same time, the second
--   waits for the first, and stores nothing. With `owner`, another user's session behaves as if it did not
--   exist. If a temporary table of the connection hides sessions, nothing is stored.
-- Index: sessions_pkey; the insert writes to all indexes of sessions.
-- Rows locked: the session's row, until the commit. Waits only for other writers of the same session.
-- Promises: 1 round trip; buffers O(log n) in the sessions; at most 36 buffers; at most 7 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions FOR UPDATE
-- Never: Seq Scan; Sort
-- Repeat: safe: the repeated statement finds the session with the same values.
-- Returns: CreatedSession; the stored row; no row if the session was deleted and `again` is not set, or was
--   created by another transaction at this moment: repeat the statement to see that one. If the session was
--   stored before, it does not change, and is_same is false if its source, user_id, parent_id or metadata
--   differ.
WITH tombstone AS (
    DELETE FROM sessions AS s
    WHERE s.session_id = :session_id::text AND s.status = 'deleted' AND :again::boolean
    RETURNING
        s.next_sequence,
        s.revision,
        CASE
            WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
            ELSE greatest(s.updated_at, statement_timestamp())
        END AS updated_at
),

created AS (
    INSERT INTO sessions AS s (
        session_id, source, user_id, parent_id, metadata, next_sequence, message_count, revision,
        created_at, updated_at, listed_at
    )
    SELECT
        :session_id::text,
        :source::text,
        :user_id::text,
        :parent_id::text,
        :session_metadata::jsonb,
        coalesce((SELECT t.next_sequence FROM tombstone AS t), 0),
        0,
        coalesce((SELECT t.revision + 1 FROM tombstone AS t), 0),
        statement_timestamp(),
        coalesce((SELECT t.updated_at FROM tombstone AS t), statement_timestamp()),
        statement_timestamp()
    WHERE pg_my_temp_schema() = 0 OR to_regclass('pg_temp.sessions') IS DISTINCT FROM to_regclass('sessions')
    ON CONFLICT (session_id) DO NOTHING
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
        s.archived_at,
        s.revision,
        s.fork_point
)

SELECT
    c.session_id,
    c.source,
    c.user_id,
    c.parent_id,
    c.status,
    c.next_sequence,
    c.message_count,
    c.agent_ids,
    c.metadata,
    c.created_at,
    c.updated_at,
    c.archived_at,
    c.revision,
    c.fork_point,
    true AS is_same
FROM created AS c
UNION ALL
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
    (
        s.source IS NOT DISTINCT FROM :source::text
        AND s.user_id IS NOT DISTINCT FROM :user_id::text
        AND s.parent_id IS NOT DISTINCT FROM :parent_id::text
        AND s.metadata = :session_metadata::jsonb
    ) AS is_same
FROM sessions AS s
WHERE
    s.session_id = :session_id::text
    AND s.status <> 'deleted'
    AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text);
