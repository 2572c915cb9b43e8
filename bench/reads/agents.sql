-- The agents of a session: the common query, and a reset of the cached list, to repeat a first read.

-- name: group_by(session_id)
-- Used by: services that store agents only on messages.
SELECT m.agent_id
FROM messages AS m
WHERE m.session_id = :session_id::text AND m.agent_id IS NOT NULL
GROUP BY m.agent_id
ORDER BY min(m.sequence);

-- name: forget(session_id)!
UPDATE sessions SET agent_ids = NULL
WHERE session_id = :session_id::text;
