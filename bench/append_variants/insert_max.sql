-- INSERT … SELECT max(sequence) + 1 … RETURNING: the statement that stores the message also assigns its number.
--
-- Used by: services whose authors noticed that two statements race, and consider one statement safe. It is not: the
-- maximum comes from the statement's snapshot, taken before waiting for another writer, so a unique key still has to
-- refuse one of the two.

-- name: prepare#
CREATE TABLE insert_max_messages (
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
INSERT INTO insert_max_messages (session_id, sequence, message_id, role, agent_id, content, created_at)
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
VACUUM ANALYZE insert_max_messages;

-- name: stored(session_id)^
SELECT
    count(*) AS messages,
    count(*) - count(DISTINCT m.sequence) AS duplicates
FROM insert_max_messages AS m
WHERE m.session_id = :session_id::text;

-- name: append(session_id, message_id, role, agent_id, content)^
INSERT INTO insert_max_messages (session_id, sequence, message_id, role, agent_id, content, created_at)
SELECT
    :session_id::text,
    coalesce(max(m.sequence) + 1, 0),
    :message_id::text,
    :role::text,
    :agent_id::text,
    :content::text,
    statement_timestamp()
FROM insert_max_messages AS m
WHERE m.session_id = :session_id::text
RETURNING sequence;
