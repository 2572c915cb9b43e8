-- name: open(session_id, limit, owner)
-- Read a session for the start of a turn: its row, its latest messages in reading order, and its agents in
-- order of first appearance.
--
-- One statement: It combines get, latest and agent_ids_read_only in one snapshot. Only the last row has the
--   session's wide columns. With `owner`, another user's session behaves as if it did not exist. The messages
--   are limited to numbers from 0 to next_sequence: otherwise the planner would expect a tenth of the session's
--   messages, and compile the plan (jit).
-- Index: sessions_pkey; messages_pkey, backwards; messages_by_agent.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(log n) in the session's messages;
--   rows O(1) in the session's messages; buffers O(n) in the session's agents, at most 4 buffers each;
--   buffers O(n) in the page, at most n/35; at most 34 buffers; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Held snapshot: buffers O(n) in the appends since, at most n/30
-- Locks: AccessShare on sessions, messages
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: it only reads.
-- Returns: OpenedRow; one row per message, or one without a message if the session has none; no row if the
--   session is not stored.
WITH RECURSIVE session AS (
    SELECT
        s.session_id,
        s.source,
        s.user_id,
        s.parent_id,
        s.status,
        s.next_sequence,
        s.message_count,
        s.agent_ids,
        s.metadata,
        s.created_at,
        s.updated_at,
        s.archived_at,
        s.revision,
        s.fork_point
    FROM sessions AS s
    WHERE
        s.session_id = :session_id::text
        AND s.status <> 'deleted'
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
),

agent (agent_id, sequence) AS (
    SELECT
        m.agent_id,
        m.sequence
    FROM session AS s
    CROSS JOIN LATERAL (
        SELECT
            m.agent_id,
            m.sequence
        FROM messages AS m
        WHERE m.session_id = :session_id::text AND m.agent_id IS NOT NULL AND s.agent_ids IS NULL
        ORDER BY m.agent_id, m.sequence
        LIMIT 1
    ) AS m
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
        WHERE m.session_id = :session_id::text AND m.agent_id > a.agent_id
        ORDER BY m.agent_id, m.sequence
        LIMIT 1
    ) AS m
),

found AS (
    SELECT array_agg(a.agent_id::text ORDER BY a.sequence) AS agent_ids
    FROM agent AS a
),

latest AS (
    SELECT
        m.sequence,
        m.message_id,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at,
        row_number() OVER (ORDER BY m.sequence DESC) AS nth
    FROM (
        SELECT
            m.sequence,
            m.message_id,
            m.role,
            m.agent_id,
            m.content,
            m.metadata,
            m.created_at
        FROM messages AS m
        WHERE m.session_id = :session_id::text AND m.sequence BETWEEN 0 AND (SELECT s.next_sequence FROM session AS s)
        ORDER BY m.sequence DESC
        LIMIT (SELECT :limit::bigint)
    ) AS m
)

SELECT
    s.session_id,
    s.source,
    s.user_id,
    s.parent_id,
    s.status,
    s.next_sequence,
    s.message_count,
    CASE WHEN coalesce(m.nth, 1) = 1 THEN s.agent_ids END AS cached,
    CASE WHEN coalesce(m.nth, 1) = 1 THEN s.metadata END AS session_metadata,
    s.created_at AS session_created_at,
    s.updated_at,
    s.archived_at,
    s.revision,
    s.fork_point,
    CASE WHEN coalesce(m.nth, 1) = 1 THEN coalesce(s.agent_ids, f.agent_ids, '{}') END AS agent_ids,
    m.sequence,
    m.message_id,
    m.role,
    m.agent_id,
    m.content,
    m.metadata,
    m.created_at
FROM session AS s
CROSS JOIN found AS f
LEFT JOIN latest AS m ON true
ORDER BY m.sequence;
