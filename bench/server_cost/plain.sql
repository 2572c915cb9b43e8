-- A plain UPDATE and INSERT, on tables with the same columns and indexes, but without domains, CHECK constraints and
-- the foreign key: the least that any append with a counter must do. It creates no session, fails if a message is sent
-- again, and has no conditions.

-- name: prepare#
CREATE TABLE plain_sessions (LIKE sessions INCLUDING DEFAULTS) WITH (fillfactor = 50);
CREATE TABLE plain_messages (LIKE messages INCLUDING DEFAULTS);
ALTER TABLE plain_sessions
ADD PRIMARY KEY (session_id),
ALTER session_id TYPE text COLLATE "C",
ALTER status TYPE text COLLATE "C",
ALTER source TYPE text COLLATE "C",
ALTER user_id TYPE text COLLATE "C",
ALTER parent_id TYPE text COLLATE "C",
ALTER metadata TYPE jsonb;
ALTER TABLE plain_messages
ADD PRIMARY KEY (session_id, sequence),
ADD UNIQUE (session_id, message_id),
ALTER message_id TYPE text COLLATE "C",
ALTER role TYPE text COLLATE "C",
ALTER agent_id TYPE text COLLATE "C",
ALTER metadata TYPE jsonb;
CREATE INDEX ON plain_sessions (status, listed_at, session_id) WHERE status <> '';
CREATE INDEX ON plain_sessions (user_id, status, listed_at, session_id) WHERE user_id IS NOT NULL;
CREATE INDEX ON plain_sessions (source, status, listed_at, session_id) WHERE source IS NOT NULL;
CREATE INDEX ON plain_sessions (parent_id, status, listed_at, session_id) WHERE parent_id IS NOT NULL;
CREATE INDEX ON plain_messages (session_id, agent_id, sequence) WHERE agent_id IS NOT NULL;

-- name: fill#
INSERT INTO sessions (session_id, user_id, source, metadata, next_sequence, message_count, created_at, updated_at)
SELECT
    's' || g.n,
    'u' || mod(g.n, 100),
    'telegram',
    '{"title": "Some talk"}',
    10,
    10,
    statement_timestamp(),
    statement_timestamp()
FROM generate_series(1, 1000) AS g (n);

INSERT INTO messages (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
SELECT
    s.session_id,
    g.n,
    s.session_id || '-' || g.n,
    'assistant',
    'agent-' || mod(g.n, 5),
    repeat(md5(s.session_id || g.n), 6),
    '{}',
    statement_timestamp()
FROM sessions AS s
CROSS JOIN generate_series(0, 9) AS g (n);

INSERT INTO plain_sessions SELECT s.* FROM sessions AS s; -- noqa: AM04

INSERT INTO plain_messages SELECT m.* FROM messages AS m; -- noqa: AM04

-- name: vacuum#
VACUUM ANALYZE;

-- name: append(session_id, message_id, role, agent_id, content, metadata)^
WITH session AS (
    UPDATE plain_sessions AS s SET
        next_sequence = s.next_sequence + 1,
        message_count = s.message_count + 1,
        updated_at = statement_timestamp()
    WHERE s.session_id = :session_id::text
    RETURNING s.session_id, s.next_sequence - 1 AS sequence, s.updated_at
)

INSERT INTO plain_messages AS m (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
SELECT
    s.session_id,
    s.sequence,
    :message_id::text,
    :role::text,
    :agent_id::text,
    :content::text,
    :metadata::jsonb,
    s.updated_at
FROM session AS s
RETURNING m.sequence, m.created_at, true AS is_same;

-- name: append_all(session_ids, places, message_ids, roles, agent_ids, contents, metadata)
WITH given AS (
    SELECT
        o.session_id,
        g.message_id,
        g.role,
        g.agent_id,
        g.content,
        g.metadata,
        g.position,
        row_number() OVER (PARTITION BY o.session_id ORDER BY g.position DESC) AS back
    FROM unnest(
        (SELECT :places::bigint[]),
        (SELECT :message_ids::text[]),
        (SELECT :roles::text[]),
        (SELECT :agent_ids::text[]),
        (SELECT :contents::text[]),
        (SELECT :metadata::jsonb[])
    ) WITH ORDINALITY AS g (place, message_id, role, agent_id, content, metadata, position)
    INNER JOIN unnest((SELECT :session_ids::text[])) WITH ORDINALITY AS o (session_id, place) ON g.place = o.place
),

session AS (
    UPDATE plain_sessions AS s SET
        next_sequence = s.next_sequence + c.messages,
        message_count = s.message_count + c.messages,
        updated_at = statement_timestamp()
    FROM (
        SELECT
            g.session_id,
            count(*) AS messages
        FROM given AS g
        GROUP BY g.session_id
    ) AS c
    WHERE s.session_id = c.session_id
    RETURNING s.session_id, s.next_sequence, s.updated_at
)

INSERT INTO plain_messages AS m (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
SELECT
    g.session_id,
    s.next_sequence - g.back,
    g.message_id,
    g.role,
    g.agent_id,
    g.content,
    g.metadata,
    s.updated_at
FROM given AS g
INNER JOIN session AS s ON g.session_id = s.session_id
RETURNING m.sequence AS position, m.sequence, m.created_at, true AS is_same;
