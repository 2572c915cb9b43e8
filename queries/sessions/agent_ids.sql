-- name: agent_ids(session_ids, owner)
-- List the agents that spoke in each of the given sessions, in order of first appearance.
--
-- One statement: an archived session's set is final, so it is stored on the session's row by the first
--   read that finds it missing, and served from there ever after. Any other session's set is read
--   from its messages each time: from one agent to the next by one descent of the index each, whatever
--   the session's length. The array stands in a subquery so that the planner does not count its elements
--   and plan anew for each call, which took longer than the read itself (tests/test_cost.py holds it to that).
--   The limit in `given` leaves nothing out: by one that it cannot know the planner expects few sessions
--   instead of ten, for which it would read a table of some hundred sessions as a whole.
--   With an owner, a session that is not that user's is as one that is not stored.
-- Index: sessions_pkey, messages_by_agent.
-- Rows locked: the row of an archived session that is not cached yet, until the commit. Waits for nobody:
--   a row that another has locked is stored by a later read.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(log n) in the session's messages;
--   buffers O(n) in the session's agents, at most 5 buffers each;
--   buffers O(n) in the given sessions, at most 28 buffers each; at most 40 buffers; at most 10 ms of CPU;
--   no sleeps; no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/50
-- Locks: RowExclusive on sessions; AccessShare on messages; any rows of sessions FOR NO KEY UPDATE; waits for nobody
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: the set that it stores is final.
-- Returns: SessionAgents; one a session that is stored; no row for one that is not.
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

        SELECT array_agg(a.agent_id ORDER BY a.sequence) AS agent_ids
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
