-- name: latest(session_id, limit)
-- Read the latest messages of a session, in reading order: what a turn of an agent begins with.
--
-- One statement: a walk along the index from its end, turned round afterwards.
-- Index: messages_pkey, backwards.
-- Locks: none.
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
