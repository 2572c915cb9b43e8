-- name: latest(session_id, limit)
-- Read the latest messages of a session, in reading order: what a turn of an agent begins with.
--
-- One statement: a walk along the index from its end, turned round afterwards.
-- Index: messages_pkey, backwards.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages;
--   buffers O(n) in the page
-- Locks: AccessShare on messages
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: Message, in reading order; no row when no such session is stored.
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
    WHERE m.session_id = :session_id::text
    ORDER BY m.sequence DESC
    LIMIT :limit::bigint
) AS m
ORDER BY m.sequence;
