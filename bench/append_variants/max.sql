-- SELECT max(sequence) + 1, then INSERT, in a transaction.
--
-- Used by: chat back ends with a sequence column and a helper such as next_sequence; a search of public code for
-- "coalesce(max(sequence" finds dozens, in SQLAlchemy, sqlx and node-postgres.
-- Two writers read the same maximum, so a unique key has to refuse one of them.

-- name: prepare#
CREATE TABLE max_messages (
    session_id text NOT NULL,
    sequence bigint NOT NULL,
    message_id text NOT NULL,
    role text NOT NULL,
    agent_id text,
    content text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (session_id, sequence)
);

-- name: fill(session_id, size)!
INSERT INTO max_messages (session_id, sequence, message_id, role, agent_id, content, created_at)
SELECT
    :session_id::text,
    g.n,
    :session_id::text || '-' || g.n,
    'assistant',
    'agent-' || mod(g.n, 5),
    c.content,
    statement_timestamp()
FROM generate_series(0, :size::bigint - 1) AS g (n)
CROSS JOIN LATERAL (
    SELECT string_agg(md5(g.n || ' ' || p.part), ' ') AS content
    FROM generate_series(1, 6) AS p (part)
) AS c;

-- name: settle#
VACUUM ANALYZE max_messages;

-- name: stored(session_id)^
SELECT
    count(*) AS messages,
    count(*) - count(DISTINCT m.sequence) AS duplicates
FROM max_messages AS m
WHERE m.session_id = :session_id::text;

-- name: next_sequence(session_id)^
SELECT coalesce(max(m.sequence) + 1, 0) AS sequence
FROM max_messages AS m
WHERE m.session_id = :session_id::text;

-- name: insert_message(session_id, sequence, message_id, role, agent_id, content)!
INSERT INTO max_messages (session_id, sequence, message_id, role, agent_id, content, created_at)
VALUES (
    :session_id::text,
    :sequence::bigint,
    :message_id::text,
    :role::text,
    :agent_id::text,
    :content::text,
    statement_timestamp()
);
