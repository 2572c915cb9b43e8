-- Pages of a session's messages, by the common query.

-- name: offset(session_id, skip, limit)
-- Used by: APIs with ?page= or ?skip=, as in FastAPI's tutorials. All skipped rows are read.
SELECT
    m.sequence,
    m.message_id,
    m.role,
    m.agent_id,
    m.content,
    m.metadata,
    m.created_at
FROM messages AS m
WHERE m.session_id = :session_id::text
ORDER BY m.sequence
LIMIT :limit::bigint OFFSET :skip::bigint;
