-- name: before(session_id, before, limit, owner)
-- Read the page of messages that ends before a sequence number, in reading order.
--
-- One statement: A backward index scan from the number, whose rows are then reversed. With `owner`,
--   another user's session behaves as if it did not exist.
-- Index: messages_pkey, backwards; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages;
--   buffers O(n) in the page, at most n/34; at most 12 buffers; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Locks: AccessShare on messages, sessions
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: Message; in reading order; no row before the first message, or if the session is not stored.
SELECT
    m.session_id,
    m.sequence,
    m.message_id,
    m.role,
    m.agent_id,
    m.content,
    m.metadata,
    m.created_at
FROM (
    SELECT
        m.session_id,
        m.sequence,
        m.message_id,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at
    FROM messages AS m
    WHERE
        m.session_id = :session_id::text
        AND m.sequence < :before::bigint
        AND (
            (SELECT :owner::text) IS NULL
            OR (SELECT :owner::text) = (
                SELECT o.user_id
                FROM sessions AS o
                WHERE o.session_id = :session_id::text
            )
        )
    ORDER BY m.sequence DESC
    LIMIT :limit::bigint
) AS m
ORDER BY m.sequence;
