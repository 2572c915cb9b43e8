-- name: middle()$
-- Return the median time of the sessions' last activity.
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY s.updated_at)
FROM sessions AS s
WHERE s.status IN ('active', 'paused', 'archived');

-- name: busy_sessions(idle_since)
-- List the active sessions of the half that is not deleted.
SELECT s.session_id
FROM sessions AS s
WHERE s.status = 'active' AND s.updated_at >= :idle_since::timestamptz
ORDER BY s.session_id;

-- name: idle_messages(idle_since)$
-- Count the messages of the half that is deleted.
SELECT coalesce(sum(s.message_count), 0)::bigint
FROM sessions AS s
WHERE s.status IN ('active', 'paused', 'archived') AND s.updated_at < :idle_since::timestamptz;

-- name: store_long(session_id, messages)!
-- Store a session with this many messages of 320 characters, which has been idle for longer than all others.
WITH session AS (
    INSERT INTO sessions (
        session_id, status, metadata, next_sequence, message_count, created_at, updated_at, listed_at
    )
    VALUES (
        :session_id::text, 'active', '{}', :messages::bigint, :messages::bigint, '2001-01-01', '2001-01-01',
        '2001-01-01'
    )
)

INSERT INTO messages (session_id, sequence, message_id, role, content, metadata, created_at)
SELECT
    :session_id::text,
    n.n,
    lpad(n.n::text, 26, '0'),
    'user',
    repeat(md5(n.n::text), 10),
    '{}',
    '2001-01-01'
FROM generate_series(0, :messages::bigint - 1) AS n (n);

-- name: reindex#
-- Rebuild the indexes of messages, while others read and write.
REINDEX TABLE CONCURRENTLY messages;

-- name: sizes()
-- Return, for each table, the bytes of its heap with TOAST and of its indexes, and its number of dead rows.
SELECT
    s.relname,
    pg_table_size(s.relid) AS heap,
    pg_indexes_size(s.relid) AS indexes,
    s.n_dead_tup AS dead_rows
FROM pg_stat_user_tables AS s
WHERE s.schemaname = current_schema()
ORDER BY s.relname;
