-- Sample data for exports and imports.

-- name: fill(messages)!
-- Store this number of messages: a fifth in one session, and 200 in each of the others.
WITH length AS (
    SELECT
        g.n,
        CASE g.n WHEN 0 THEN :messages::bigint / 5 ELSE 200 END AS messages,
        timestamptz '2026-01-01 00:00+00' + g.n * interval '1 minute' AS began_at
    FROM generate_series(0, :messages::bigint / 250) AS g (n)
),

stored AS (
    INSERT INTO sessions (
        session_id, user_id, source, metadata, next_sequence, message_count, created_at, updated_at, listed_at
    )
    SELECT
        '01KDVNQ8' || lpad(l.n::text, 18, '0') AS session_id,
        'user-' || mod(l.n, 100),
        'telegram',
        '{"title": "What was asked for", "language": "en"}',
        l.messages AS next_sequence,
        l.messages AS message_count,
        l.began_at,
        l.began_at + l.messages * interval '7.654321 seconds' AS updated_at,
        l.began_at + l.messages * interval '7.654321 seconds' AS listed_at
    FROM length AS l
    ORDER BY l.n
    RETURNING session_id, message_count, created_at
)

INSERT INTO messages (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
SELECT
    s.session_id,
    g.n,
    '01KDVNQ9' || upper(lpad(to_hex(g.n), 8, '0') || left(md5(s.session_id || g.n), 10)),
    (ARRAY['user', 'assistant', 'tool', 'assistant'])[1 + mod(g.n, 4)],
    (ARRAY[NULL, 'planner', 'searcher', 'writer'])[1 + mod(g.n, 4)],
    CASE mod(g.n, 4)
        WHEN 0 THEN 'Could you look at the order again? It was sent on the ' || g.n || 'th.'
        WHEN 2 THEN '{"rows": [' || repeat('{"id": 4711, "name": "Grüße"}, ', 1 + mod(g.n, 13)::integer) || 'null]}'
        ELSE repeat(E'Here is what I have "found":\n- the order was sent.\n', 1 + mod(g.n, 11)::integer)
    END,
    CASE mod(g.n, 4) WHEN 0 THEN '{}' ELSE jsonb_build_object('model', 'large', 'tokens', g.n) END,
    s.created_at + g.n * interval '7.654321 seconds'
FROM stored AS s
CROSS JOIN LATERAL generate_series(0, s.message_count - 1) AS g (n)
ORDER BY s.session_id, g.n;

-- name: settle#
VACUUM ANALYZE sessions, messages;

-- name: clear#
TRUNCATE sessions, messages, removed_messages, changes;
