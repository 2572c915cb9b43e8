-- Fill the library's own tables. Its statements are those of queries/.

-- name: fill(session_id, size)!
WITH session AS (
    INSERT INTO sessions (session_id, user_id, metadata, next_sequence, message_count, created_at, updated_at)
    VALUES (
        :session_id::text,
        'user-1',
        '{}',
        :size::bigint,
        :size::bigint,
        statement_timestamp(),
        statement_timestamp()
    )
)

INSERT INTO messages (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
SELECT
    :session_id::text,
    g.n,
    :session_id::text || '-' || g.n,
    'assistant',
    'agent-' || mod(g.n, 5),
    c.content,
    '{}',
    statement_timestamp()
FROM generate_series(0, :size::bigint - 1) AS g (n)
CROSS JOIN LATERAL (
    SELECT string_agg(md5(g.n || ' ' || p.part), ' ') AS content
    FROM generate_series(1, 6) AS p (part)
) AS c;

-- name: settle#
VACUUM ANALYZE sessions, messages;

-- name: stored(session_id)^
SELECT
    count(*) AS messages,
    count(*) - count(DISTINCT m.sequence) AS duplicates
FROM messages AS m
WHERE m.session_id = :session_id::text;
