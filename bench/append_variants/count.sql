-- Get the session, COUNT its messages, INSERT the next one, UPDATE the session: four statements in a transaction.
--
-- Who does it so: services that let a web framework's repository classes write the SQL. The session is fetched
-- to see whether it is there, its messages are counted because the number is wanted anyway, and the count numbers
-- the new one. Nothing keeps two writers from counting the same: the tables have the keys that such classes
-- declare, an id of the message's own and an index for the foreign key.

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
-- The row is stored as soon as the session is opened, whether or not anything is ever said in it.
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
