-- Pages of a session's messages, as the field reads them.

-- name: offset(session_id, skip, limit)
-- Who does it so: APIs with ?page= or ?skip=, such as those that FastAPI's tutorials lead to. All that is skipped
-- is read.
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
