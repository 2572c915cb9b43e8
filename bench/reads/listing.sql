-- Sessions by recency: sample data, and the common OFFSET query.

-- name: fill(before, size)!
-- Store sessions of a hundred users, one every 26 minutes, a third of them active.
INSERT INTO sessions (
    session_id, user_id, source, status, archived_at, metadata, next_sequence, message_count, created_at, updated_at,
    listed_at
)
SELECT
    'session-' || g.n,
    'user-' || mod(g.n, 100),
    'source-' || mod(g.n, 7),
    s.status,
    CASE s.status WHEN 'archived' THEN s.active_at END,
    '{}',
    1,
    1,
    s.active_at AS created_at,
    s.active_at AS updated_at,
    s.active_at AS listed_at
FROM generate_series(:before::bigint + 1, :size::bigint) AS g (n)
CROSS JOIN LATERAL (
    SELECT
        timestamptz '2000-01-01 00:00+00' + g.n * interval '26 minutes' AS active_at,
        CASE WHEN mod(g.n, 200) = 0 THEN 'paused' WHEN mod(g.n, 3) = 0 THEN 'active' ELSE 'archived' END AS status
) AS s;

-- name: settle#
VACUUM ANALYZE sessions;

-- name: middle()^
SELECT
    s.session_id,
    s.listed_at
FROM sessions AS s
ORDER BY s.listed_at
LIMIT 1 OFFSET (SELECT count(*) / 2 FROM sessions);

-- name: prepare_offset#
-- A common table of sessions, with the index for a list by recency, which every append has to update.
CREATE TABLE offset_sessions (
    session_id text PRIMARY KEY,
    user_id text NOT NULL,
    status text NOT NULL,
    metadata jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE INDEX offset_sessions_by_updated_at ON offset_sessions (updated_at);

-- name: fill_offset(before, size)!
INSERT INTO offset_sessions (session_id, user_id, status, metadata, updated_at)
SELECT
    'session-' || g.n,
    'user-' || mod(g.n, 100),
    CASE WHEN mod(g.n, 3) = 0 THEN 'active' ELSE 'archived' END,
    '{}',
    timestamptz '2000-01-01 00:00+00' + g.n * interval '26 minutes'
FROM generate_series(:before::bigint + 1, :size::bigint) AS g (n);

-- name: touch_offset(session_id)!
-- The update by which an append moves a session to the front.
UPDATE offset_sessions SET updated_at = statement_timestamp()
WHERE session_id = :session_id::text;

-- name: settle_offset#
VACUUM ANALYZE offset_sessions;

-- name: offset(skip, limit)
-- Used by: see pages.offset. A page in the middle reads half of the table.
SELECT
    s.session_id,
    s.user_id,
    s.status,
    s.metadata,
    s.updated_at
FROM offset_sessions AS s
ORDER BY s.updated_at DESC
LIMIT :limit::bigint OFFSET :skip::bigint;
