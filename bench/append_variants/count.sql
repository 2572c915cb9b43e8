-- Get the session, COUNT its messages, INSERT the next one, UPDATE the session: four statements in a transaction.
--
-- Used by: services whose SQL is written by repository classes of a web framework. They fetch the session to check that
-- it exists, and count its messages for the response and for the number of the new one. Nothing prevents two writers
-- from getting the same count: such classes declare only a message id and an index for the foreign key.

-- name: prepare#
CREATE TABLE count_sessions (
    session_id text PRIMARY KEY,
    message_count bigint NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE count_messages (
    message_id text PRIMARY KEY,
    session_id text NOT NULL REFERENCES count_sessions (session_id) ON DELETE CASCADE,
    sequence bigint NOT NULL,
    role text NOT NULL,
    agent_id text,
    content text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX count_messages_of_session ON count_messages (session_id);

-- name: fill(session_id, size)!
WITH session AS (
    INSERT INTO count_sessions (session_id, message_count, updated_at)
    VALUES (:session_id::text, :size::bigint, statement_timestamp())
)

INSERT INTO count_messages (message_id, session_id, sequence, role, agent_id, content, created_at)
SELECT
    :session_id::text || '-' || g.n,
    :session_id::text,
    g.n,
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
VACUUM ANALYZE count_sessions, count_messages;

-- name: stored(session_id)^
SELECT
    count(*) AS messages,
    count(*) - count(DISTINCT m.sequence) AS duplicates
FROM count_messages AS m
WHERE m.session_id = :session_id::text;

-- name: open_session(session_id)!
-- Stores the row when the session is opened, even if it never gets a message.
INSERT INTO count_sessions (session_id, message_count, updated_at)
VALUES (:session_id::text, 0, statement_timestamp());

-- name: select_session(session_id)^
SELECT
    s.session_id,
    s.message_count,
    s.updated_at
FROM count_sessions AS s
WHERE s.session_id = :session_id::text;

-- name: count_messages(session_id)^
SELECT count(*) AS messages
FROM count_messages AS m
WHERE m.session_id = :session_id::text;

-- name: insert_message(message_id, session_id, sequence, role, agent_id, content)!
INSERT INTO count_messages (message_id, session_id, sequence, role, agent_id, content, created_at)
VALUES (
    :message_id::text,
    :session_id::text,
    :sequence::bigint,
    :role::text,
    :agent_id::text,
    :content::text,
    statement_timestamp()
);

-- name: update_session(session_id, messages)!
UPDATE count_sessions SET
    message_count = :messages::bigint,
    updated_at = statement_timestamp()
WHERE session_id = :session_id::text;
