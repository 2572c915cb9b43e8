-- The whole conversation in one jsonb array of the session's row: read it, append to it, write it back.
--
-- Used by: Agno (a session's runs are one JSONB column, and the whole row is upserted after each run), and
-- services that store a chat as the document that their front end shows. Two writers read the same array, and the
-- second one overwrites the message of the first.

-- name: prepare#
CREATE TABLE jsonb_sessions (
    session_id text PRIMARY KEY,
    messages jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);

-- name: fill(session_id, size)!
INSERT INTO jsonb_sessions (session_id, messages, updated_at)
SELECT
    :session_id::text,
    jsonb_agg(
        jsonb_build_object(
            'message_id', :session_id::text || '-' || g.n,
            'role', 'assistant',
            'agent_id', 'agent-' || mod(g.n, 5),
            'content', c.content
        )
        ORDER BY g.n
    ),
    statement_timestamp()
FROM generate_series(0, :size::bigint - 1) AS g (n)
CROSS JOIN LATERAL (
    SELECT string_agg(md5(g.n || ' ' || p.part), ' ') AS content
    FROM generate_series(1, 6) AS p (part)
) AS c;

-- name: settle#
VACUUM ANALYZE jsonb_sessions;

-- name: stored(session_id)^
SELECT
    jsonb_array_length(s.messages) AS messages,
    0 AS duplicates
FROM jsonb_sessions AS s
WHERE s.session_id = :session_id::text;

-- name: select_session(session_id)^
SELECT s.messages
FROM jsonb_sessions AS s
WHERE s.session_id = :session_id::text;

-- name: update_session(session_id, messages)!
UPDATE jsonb_sessions SET
    messages = :messages::jsonb,
    updated_at = statement_timestamp()
WHERE session_id = :session_id::text;
