-- An identity column numbers all messages of all sessions; the session is looked up and its time is updated.
--
-- Used by: the OpenAI Agents SDK (SQLAlchemySession.add_items: SELECT the session, INSERT the message,
-- UPDATE updated_at, in a transaction, with these tables and this index). The numbers of a session have gaps, and
-- are not in commit order: a reader that continues after the last number it has seen may miss a message.

-- name: prepare#
CREATE TABLE identity_sessions (
    session_id text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE identity_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id text NOT NULL REFERENCES identity_sessions (session_id) ON DELETE CASCADE,
    role text NOT NULL,
    agent_id text,
    content text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE INDEX identity_messages_of_session ON identity_messages (session_id, created_at);

-- name: fill(session_id, size)!
WITH session AS (
    INSERT INTO identity_sessions (session_id, created_at, updated_at)
    VALUES (:session_id::text, statement_timestamp(), statement_timestamp())
)

INSERT INTO identity_messages (session_id, role, agent_id, content, created_at)
SELECT
    :session_id::text,
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
VACUUM ANALYZE identity_sessions, identity_messages;

-- name: stored(session_id)^
SELECT
    count(*) AS messages,
    count(*) - count(DISTINCT m.id) AS duplicates
FROM identity_messages AS m
WHERE m.session_id = :session_id::text;

-- name: select_session(session_id)^
SELECT s.session_id
FROM identity_sessions AS s
WHERE s.session_id = :session_id::text;

-- name: insert_message(session_id, role, agent_id, content)^
INSERT INTO identity_messages (session_id, role, agent_id, content, created_at)
VALUES (
    :session_id::text,
    :role::text,
    :agent_id::text,
    :content::text,
    statement_timestamp()
)
RETURNING id;

-- name: update_session(session_id)!
UPDATE identity_sessions SET updated_at = statement_timestamp()
WHERE session_id = :session_id::text;
