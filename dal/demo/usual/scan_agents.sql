-- name: scan_agents(session_id)
-- The usual way, for comparison; the library never sends it. List the agents of a session in order of first
-- appearance, by reading every message that an agent wrote, each time.
SELECT m.agent_id
FROM messages AS m
WHERE m.session_id = :session_id::text AND m.agent_id IS NOT NULL
GROUP BY m.agent_id
ORDER BY min(m.sequence);
