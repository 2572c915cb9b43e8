-- Store the messages of a batch, in the sessions that take.sql has created or locked. In a new session, messages keep
-- the numbers of the file. In an existing one, messages that are stored already are skipped, and the missing ones
-- follow the last message with new numbers. A session that may not take its missing messages takes none, and is
-- returned in `refused` with the reason. LATERAL … LIMIT 1 finds each stored message by the index, however large the
-- table is.
WITH state AS (
    SELECT
        i.session_id,
        i.is_new,
        s.next_sequence,
        s.updated_at,
        s.status,
        (i.owner IS NOT NULL AND (s.user_id IS NULL OR s.user_id <> i.owner)) AS is_anothers
    FROM pg_temp.dal_import_sessions AS i
    CROSS JOIN LATERAL (
        SELECT
            s.next_sequence,
            s.updated_at,
            s.status,
            s.user_id
        FROM sessions AS s
        WHERE s.session_id = i.session_id
        ORDER BY s.session_id
        LIMIT 1
    ) AS s
),

there AS (
    SELECT
        g.session_id,
        g.sequence,
        (
            m.role = g.role
            AND m.agent_id IS NOT DISTINCT FROM g.agent_id
            AND m.content = g.content
            AND m.metadata || g.metadata = m.metadata
        ) AS is_same
    FROM pg_temp.dal_import_messages AS g
    INNER JOIN state AS t ON g.session_id = t.session_id
    CROSS JOIN LATERAL (
        SELECT
            m.role,
            m.agent_id,
            m.content,
            m.metadata
        FROM messages AS m
        WHERE m.session_id = g.session_id AND m.message_id = g.message_id
        ORDER BY m.message_id
        LIMIT 1
    ) AS m
    WHERE NOT t.is_new
),

missing AS (
    SELECT
        g.session_id,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        t.next_sequence + row_number() OVER (PARTITION BY g.session_id ORDER BY g.sequence) - 1 AS sequence,
        greatest(t.updated_at, coalesce(g.created_at, transaction_timestamp())) AS created_at
    FROM pg_temp.dal_import_messages AS g
    INNER JOIN state AS t ON g.session_id = t.session_id
    WHERE
        NOT t.is_new
        AND NOT EXISTS (
            SELECT FROM there AS p
            WHERE p.session_id = g.session_id AND p.sequence = g.sequence
        )
),

counted AS (
    SELECT
        m.session_id,
        count(*) AS messages,
        max(m.created_at) AS updated_at
    FROM missing AS m
    GROUP BY m.session_id
),

refused AS (
    SELECT
        t.session_id,
        CASE WHEN t.is_anothers THEN 'owner' WHEN d.session_id IS NOT NULL THEN 'conflict' ELSE t.status END AS reason
    FROM state AS t
    LEFT JOIN (
        SELECT DISTINCT p.session_id
        FROM there AS p
        WHERE NOT p.is_same
    ) AS d ON t.session_id = d.session_id
    LEFT JOIN counted AS c ON t.session_id = c.session_id
    WHERE
        t.is_anothers
        OR d.session_id IS NOT NULL
        OR (t.status NOT IN ('active', 'paused') AND c.session_id IS NOT NULL AND NOT t.is_new)
        OR (t.status = 'deleted' AND NOT t.is_new)
),

others AS (
    SELECT r.session_id
    FROM refused AS r
    WHERE r.reason = 'owner'
),

stored AS (
    INSERT INTO messages (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at
    )
    SELECT
        g.session_id,
        g.sequence,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        coalesce(g.created_at, transaction_timestamp())
    FROM pg_temp.dal_import_messages AS g
    INNER JOIN state AS t ON g.session_id = t.session_id
    WHERE t.is_new
    UNION ALL
    SELECT
        g.session_id,
        g.sequence,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        g.created_at
    FROM missing AS g
    WHERE g.session_id NOT IN (SELECT r.session_id FROM refused AS r)
    RETURNING sequence
),

continued AS (
    UPDATE sessions AS s SET
        next_sequence = s.next_sequence + c.messages,
        message_count = s.message_count + c.messages,
        updated_at = greatest(s.updated_at, c.updated_at),
        listed_at = greatest(s.listed_at, least(c.updated_at, transaction_timestamp()))
    FROM counted AS c
    WHERE s.session_id = c.session_id AND c.session_id NOT IN (SELECT r.session_id FROM refused AS r)
),

-- take.sql inserts every session as active, since a service's role may not insert these columns.
ended AS (
    UPDATE sessions AS s SET
        status = i.status,
        archived_at = i.archived_at,
        trashed_from = i.trashed_from,
        agent_ids = i.agent_ids
    FROM pg_temp.dal_import_sessions AS i
    WHERE s.session_id = i.session_id AND i.is_new AND i.status <> 'active'
)

SELECT
    (
        SELECT count(*)
        FROM state AS t
        WHERE t.is_new
    ) AS sessions,
    (
        SELECT count(*)
        FROM stored
    ) AS messages,
    (
        SELECT count(*)
        FROM there AS p
        WHERE p.is_same AND p.session_id NOT IN (SELECT r.session_id FROM others AS r)
    ) AS already_there,
    (
        SELECT coalesce(array_agg(r.session_id ORDER BY r.session_id), '{}')
        FROM refused AS r
    ) AS refused,
    (
        SELECT coalesce(array_agg(r.reason ORDER BY r.session_id), '{}')
        FROM refused AS r
    ) AS reasons,
    (
        SELECT c.reltuples
        FROM pg_catalog.pg_class AS c
        WHERE c.oid = 'sessions'::regclass
    ) AS sessions_known_to_planner,
    (
        SELECT c.reltuples
        FROM pg_catalog.pg_class AS c
        WHERE c.oid = 'messages'::regclass
    ) AS messages_known_to_planner;
