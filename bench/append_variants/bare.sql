-- A single INSERT into one table: the minimal cost of storing a row.
--
-- Used by: langchain-postgres (PostgresChatMessageHistory, in a transaction of its own). It stores no
-- sessions, so none can be listed, archived or locked. This is a lower bound for any variant.

-- name: prepare#
CREATE TABLE bare_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id text NOT NULL,
    message jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX bare_messages_of_session ON bare_messages (session_id);

-- name: fill(session_id, size)!
INSERT INTO bare_messages (session_id, message)
SELECT
    :session_id::text,
    jsonb_build_object('role', 'assistant', 'agent_id', 'agent-' || mod(g.n, 5), 'content', c.content)
FROM generate_series(0, :size::bigint - 1) AS g (n)
CROSS JOIN LATERAL (
    SELECT string_agg(md5(g.n || ' ' || p.part), ' ') AS content
    FROM generate_series(1, 6) AS p (part)
) AS c;

-- name: settle#
VACUUM ANALYZE bare_messages;

-- name: stored(session_id)^
SELECT
    count(*) AS messages,
    count(*) - count(DISTINCT m.id) AS duplicates
FROM bare_messages AS m
WHERE m.session_id = :session_id::text;

-- name: append(session_id, message)!
INSERT INTO bare_messages (session_id, message) VALUES (:session_id::text, :message::jsonb);
