-- name: agent_ids(session_ids, owner)
-- List the agents that took part in each of the given sessions, in order of first appearance.
--
-- One statement: The list of an archived session is final, so the first read caches it in the session's
--   row, and later reads use it. For any other session, each read finds the agents by one index lookup per
--   agent, however long the session is. The array is passed through a subquery, so that the planner does
--   not count its elements and replan each call (tests/one_server/test_cost.py checks it). The LIMIT in
--   `given` removes no rows. It makes the planner expect few sessions; with its default of ten, it would
--   read a table of some hundred sessions as a whole. With `owner`, another user's session behaves as if
--   it did not exist.
-- Index: sessions_pkey, messages_by_agent.
-- Rows locked: the row of an archived session without a cached list, until the commit. Waits for nobody:
--   it skips a row that is locked, and a later read caches the list.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(log n) in the session's messages;
--   buffers O(n) in the session's agents, at most 5 buffers each;
--   buffers O(n) in the given sessions, at most 28 buffers each; at most 40 buffers; at most 10 ms of CPU;
--   no sleeps; no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/50
-- Locks: RowExclusive on sessions; AccessShare on messages; any rows of sessions FOR NO KEY UPDATE; waits for nobody
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: the stored list is final.
-- Returns: SessionAgents; one row per stored session; no row for a session that is not stored.
WITH given AS (
    SELECT DISTINCT g.session_id
    FROM unnest((SELECT :session_ids::text[])) AS g (session_id)
    ORDER BY g.session_id
    LIMIT (SELECT cardinality(:session_ids::text[]))
),

listed AS (
    SELECT
        s.session_id,
        (s.status = 'archived' AND s.agent_ids IS NULL) AS is_missing,
        coalesce(s.agent_ids, found.agent_ids, '{}') AS agent_ids
    FROM given AS g
    CROSS JOIN LATERAL (
        SELECT
            s.session_id,
            s.status,
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
    ) AS found
),

missing AS (
    SELECT
        l.session_id,
        l.agent_ids
    FROM listed AS l
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE s.session_id = l.session_id AND s.agent_ids IS NULL
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS s
    WHERE l.is_missing
),

cached AS (
    UPDATE sessions AS s SET agent_ids = m.agent_ids
    FROM missing AS m
    WHERE s.session_id = m.session_id
    RETURNING s.session_id
)

SELECT
    l.session_id,
    l.agent_ids
FROM listed AS l;
