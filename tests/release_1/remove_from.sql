-- name: remove_from(session_id, sequence)^
-- Remove a session's messages from a sequence number on: to regenerate an answer, or to take the last
-- message back. The numbers are not given out again.
--
-- One statement: the session's row is locked first, as by an append, so no append can come between the
--   removal and the count; what an append stored while this waited keeps its (higher) number.
-- Index: sessions_pkey, messages_pkey.
-- Rows locked: the session's row until the commit, then the removed messages.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; buffers O(n) in the removed messages;
--   WAL O(n) in the removed messages
-- Locks: RowExclusive on sessions, messages; 1 row of sessions
-- Never: Seq Scan on sessions
-- Returns: Removed; no row when no such session is stored.
--   When the session is archived, nothing is removed: the status tells.
WITH session AS MATERIALIZED (
    SELECT
        s.session_id,
        s.status
    FROM sessions AS s
    WHERE s.session_id = :session_id::text
    FOR NO KEY UPDATE
),

removed AS (
    DELETE FROM messages AS m
    USING session AS s
    WHERE
        m.session_id = :session_id::text
        AND m.sequence >= :sequence::bigint
        AND s.status <> 'archived'
    RETURNING m.sequence
),

total AS (
    SELECT coalesce(sum(1), 0)::bigint AS messages FROM removed
),

counted AS (
    UPDATE sessions AS s SET
        message_count = s.message_count - t.messages,
        updated_at = greatest(s.updated_at, statement_timestamp())
    FROM total AS t
    WHERE s.session_id = :session_id::text AND t.messages > 0
    RETURNING s.session_id
)

SELECT
    s.status,
    t.messages
FROM session AS s
CROSS JOIN total AS t;
