-- name: removed(session_id, before, limit, owner)
-- Read a page of the removed messages of a session, in reading order: those with the highest numbers before
-- a number.
--
-- One statement: A backward index scan, whose rows are then reversed. With `owner`, another user's session
--   behaves as if it did not exist.
-- Index: removed_messages_pkey, backwards; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's removed messages;
--   buffers O(n) in the page, at most n/34; at most 12 buffers; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Locks: AccessShare on removed_messages, sessions
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: RemovedMessage; in reading order; no row if nothing was removed and kept, or if the session is
--   not stored.
SELECT
    r.session_id,
    r.sequence,
    r.message_id,
    r.role,
    r.agent_id,
    r.content,
    r.metadata,
    r.created_at,
    r.removed_at
FROM (
    SELECT
        r.session_id,
        r.sequence,
        r.message_id,
        r.role,
        r.agent_id,
        r.content,
        r.metadata,
        r.created_at,
        r.removed_at
    FROM removed_messages AS r
    WHERE
        r.session_id = :session_id::text
        AND r.sequence < :before::bigint
        AND (
            (SELECT :owner::text) IS NULL
            OR (SELECT :owner::text) = (
                SELECT o.user_id
                FROM sessions AS o
                WHERE o.session_id = :session_id::text
            )
        )
    ORDER BY r.sequence DESC
    LIMIT :limit::bigint
) AS r
ORDER BY r.sequence;
