-- name: store_sessions(prefix, size)!
-- Store sessions 1 to size of u1, a minute apart, with the statuses in turn.
INSERT INTO sessions (
    session_id, user_id, source, parent_id, status, archived_at, metadata, next_sequence, message_count,
    created_at, updated_at, listed_at
)
SELECT
    :prefix::text || g.n AS session_id,
    'u1' AS user_id,
    'from1' AS source,
    'parent1' AS parent_id,
    (ARRAY['active', 'paused', 'archived'])[mod(g.n, 3) + 1] AS status,
    CASE WHEN mod(g.n, 3) = 2 THEN timestamptz '2026-02-01 00:00+00' END AS archived_at,
    '{}' AS metadata,
    1 AS next_sequence,
    1 AS message_count,
    timestamptz '2026-01-01 01:00+00' + g.n * interval '1 minute' AS created_at,
    timestamptz '2026-01-01 01:00+00' + g.n * interval '1 minute' AS updated_at,
    timestamptz '2026-01-01 01:00+00' + g.n * interval '1 minute' AS listed_at
FROM generate_series(1, :size::bigint) AS g (n);

-- name: store_first_messages(prefix, size)!
-- Store a message in each of these sessions.
INSERT INTO messages (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
SELECT
    :prefix::text || g.n AS session_id,
    0 AS sequence,
    'm0' AS message_id,
    'user' AS role,
    'agent0' AS agent_id,
    'What was said.' AS content,
    '{}' AS metadata,
    timestamptz '2026-01-01 01:00+00' + g.n * interval '1 minute' AS created_at
FROM generate_series(1, :size::bigint) AS g (n);

-- name: store_session(session_id, messages, next_sequence)!
-- Store an active session of u1 with these counters. The numbers of removed messages are not given again.
INSERT INTO sessions (
    session_id, user_id, source, metadata, next_sequence, message_count, created_at, updated_at, listed_at
)
VALUES (
    :session_id::text, 'u1', 'from1', '{}', :next_sequence::bigint, :messages::bigint, now(), now(), now()
);
