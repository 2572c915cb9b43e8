-- name: agent_ids_read_only(session_ids, owner)
-- List the agents that took part in each of the given sessions, in order of first appearance, without
-- caching the list: for read-only roles and servers.
--
-- One statement: As agent_ids, but it caches nothing. A read-only role or server refuses a statement that
--   could write, even if it would write nothing. With `owner`, another user's session behaves as if it did
--   not exist.
-- Index: sessions_pkey, messages_by_agent.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(log n) in the session's messages;
--   buffers O(n) in the session's agents, at most 4 buffers each;
--   buffers O(n) in the given sessions, at most 17 buffers each; at most 28 buffers; at most 10 ms of CPU;
--   no sleeps; no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/50
-- Locks: AccessShare on sessions, messages
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: it only reads.
-- Returns: SessionAgents; one row per stored session; no row for a session that is not stored.
WITH given AS (
    SELECT DISTINCT g.session_id
    FROM unnest((SELECT :session_ids::text[])) AS g (session_id)
    ORDER BY g.session_id
    LIMIT (SELECT cardinality(:session_ids::text[]))
)

SELECT
    s.session_id,
    coalesce(s.agent_ids, found.agent_ids, '{}') AS agent_ids
FROM given AS g
CROSS JOIN LATERAL (
    SELECT
        s.session_id,
        s.agent_ids
    FROM sessions AS s
    WHERE s.session_id = g.session_id AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
    ORDER BY s.session_id
    LIMIT 1
) AS s
CROSS JOIN LATERAL (
    WITH RECURSIVE agent (agent_id, sequence) AS (
        (
            SELECT
                m.agent_id,
                m.sequence
            FROM messages AS m
            WHERE m.session_id = s.session_id AND m.agent_id IS NOT NULL AND s.agent_ids IS NULL
            ORDER BY m.agent_id, m.sequence
            LIMIT 1
        )
        UNION ALL
        SELECT
            m.agent_id,
            m.sequence
        FROM agent AS a
        CROSS JOIN LATERAL (
            SELECT
                m.agent_id,
                m.sequence
            FROM messages AS m
            WHERE m.session_id = s.session_id AND m.agent_id > a.agent_id
            ORDER BY m.agent_id, m.sequence
            LIMIT 1
        ) AS m
    )

    SELECT array_agg(a.agent_id::text ORDER BY a.sequence) AS agent_ids
    FROM agent AS a
) AS found;
