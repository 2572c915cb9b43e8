-- The agents of a session: how the field lists them, and what a benchmark needs to see a first read again.

-- name: group_by(session_id)
-- Who does it so: whoever asks the messages, having stored the agents nowhere else.
SELECT m.agent_id
FROM messages AS m
WHERE m.session_id = :session_id::text AND m.agent_id IS NOT NULL
GROUP BY m.agent_id
ORDER BY min(m.sequence);

-- name: forget(session_id)!
UPDATE sessions SET agent_ids = NULL
WHERE session_id = :session_id::text;
