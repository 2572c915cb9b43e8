-- name: create_texts#
-- Create a table of contents to choose from. It stores them uncompressed, so that the table of messages decides whether
-- to compress them.
CREATE TEMPORARY TABLE large_texts (
    n integer PRIMARY KEY,
    content text NOT NULL
);
ALTER TABLE large_texts ALTER COLUMN content SET STORAGE EXTERNAL;

-- name: plan_sessions(messages, sessions, seed, steps)!
-- Plan each session: its size, its user, its last activity within the hour, and the step of its first message. A third
--   of the sessions have two messages; the sizes of the others are skewed. Two users have three tenths of the sessions
--   each.
CREATE TEMPORARY TABLE large_plan AS
SELECT
    g.n,
    lpad(upper(to_hex(:seed::bigint)), 4, '0') || lpad(upper(to_hex(g.n)), 8, '0')
    || upper(left(md5(:seed::bigint || ' ' || g.n), 14)) AS session_id,
    CASE
        WHEN mod(g.n, 10) < 3 THEN 'heavy1' WHEN mod(g.n, 10) < 6 THEN 'heavy2' ELSE 'user' || g.n / 10
    END AS user_id,
    CASE WHEN g.chance < 0.6 THEN 'telegram' WHEN g.chance < 0.9 THEN 'web' END AS source,
    CASE WHEN mod(g.n, 3) = 0 THEN 2 ELSE 3 - floor(ln(1 - g.size) * g.mean)::bigint END AS messages,
    CASE WHEN mod(g.n, 50) = 7 THEN 20 ELSE 0 END AS removed,
    CASE WHEN mod(g.n, 3) = 0 THEN :steps::integer ELSE 1 + floor(g.start * :steps::integer)::integer END AS first_step,
    CASE WHEN mod(g.n, 7) = 4 THEN 'archived' WHEN mod(g.n, 97) = 8 THEN 'trashed' ELSE 'active' END AS status,
    g.activity * interval '1 hour' AS active_for
FROM (
    SELECT
        n.n,
        (0.9 * :messages::bigint - 2.0 * :sessions::bigint / 3) / (2.0 * :sessions::bigint / 3) - 2.5 AS mean,
        n.n * 0.618033988749895 - floor(n.n * 0.618033988749895) AS size,
        (hashint8extended(n.n, :seed::bigint + 1) & 2147483647) / 2147483648.0 AS activity,
        (hashint8extended(n.n, :seed::bigint + 2) & 2147483647) / 2147483648.0 AS start,
        (hashint8extended(n.n, :seed::bigint + 3) & 2147483647) / 2147483648.0 AS chance
    FROM generate_series(1, :sessions::bigint) AS n (n)
) AS g;

-- name: plan_huge(messages)!
-- Give one session all messages that the others do not have, about a tenth. It is in the idle half.
UPDATE large_plan AS p SET
    messages = :messages::bigint - others.messages,
    status = 'active',
    first_step = 1,
    active_for = interval '6 minutes'
FROM (
    SELECT
        max(o.n) / 4 / 30 * 30 + 1 AS huge,
        sum(o.messages) FILTER (WHERE o.n <> (SELECT max(l.n) / 4 / 30 * 30 + 1 FROM large_plan AS l)) AS messages
    FROM large_plan AS o
) AS others
WHERE p.n = others.huge;

-- name: fill_sessions(ended, steps)!
-- Store the planned sessions. The last hour of activity ended at a given time.
INSERT INTO sessions (
    session_id, user_id, source, parent_id, status, trashed_from, archived_at, metadata, next_sequence, message_count,
    created_at, updated_at, listed_at
)
SELECT
    p.session_id,
    p.user_id,
    p.source,
    CASE WHEN mod(p.n, 50) = 2 THEN lag(p.session_id, 1) OVER (ORDER BY p.n) END AS parent_id,
    p.status,
    CASE p.status WHEN 'trashed' THEN 'active' END AS trashed_from,
    CASE p.status WHEN 'archived' THEN p.last END AS archived_at,
    CASE WHEN mod(p.n, 4) = 0 THEN jsonb_build_object('title', 'Conversation ' || p.n, 'locale', 'en-GB') ELSE '{}' END
        AS metadata,
    p.messages + p.removed AS next_sequence,
    p.messages AS message_count,
    p.last - (:steps::integer - p.first_step) * interval '9 days' - interval '30 minutes' AS created_at,
    p.last AS updated_at,
    p.last AS listed_at
FROM (
    SELECT
        l.*,
        :ended::timestamptz - interval '1 hour' + l.active_for AS last
    FROM large_plan AS l
) AS p
ORDER BY p.n;

-- name: fill_messages(seed, step, steps)!
-- Store the messages of one step of all sessions, session by session, so that each conversation grows by a few messages
--   at a time, between those of others. Every second message is a user's; each of the others is by one of five agents.
INSERT INTO messages (session_id, sequence, message_id, role, agent_id, content, metadata, created_at)
SELECT
    m.session_id,
    m.sequence,
    '01' || lpad(upper(to_hex(m.sequence)), 8, '0') || lpad(upper(to_hex(m.chance)), 16, '0') AS message_id,
    CASE WHEN mod(m.sequence, 2) = 0 THEN 'user' WHEN m.chance & 7 = 0 THEN 'tool' ELSE 'assistant' END AS role,
    CASE WHEN mod(m.sequence, 2) = 1 THEN 'agent' || mod(m.chance >> 8, 5) END AS agent_id,
    t.content,
    CASE
        WHEN mod(m.chance >> 16, 5) = 0
            THEN jsonb_build_object('model', 'large-2', 'tokens', (m.chance >> 20) & 4095)
        ELSE '{}'
    END AS metadata,
    s.created_at + (s.updated_at - s.created_at) * ((m.sequence + 1.0) / m.messages)::double precision AS created_at
FROM (
    SELECT
        p.session_id,
        p.messages,
        g.sequence,
        hashint8extended(p.n * 16777216 + g.sequence, :seed::bigint) & 9223372036854775807 AS chance
    FROM large_plan AS p
    CROSS JOIN LATERAL generate_series(
        p.messages * (:step::integer - p.first_step) / (:steps::integer + 1 - p.first_step),
        p.messages * (:step::integer + 1 - p.first_step) / (:steps::integer + 1 - p.first_step) - 1
    ) AS g (sequence)
    WHERE p.first_step <= :step::integer
) AS m
INNER JOIN sessions AS s ON m.session_id = s.session_id
INNER JOIN large_texts AS t ON mod(m.chance >> 24, 16384) = t.n;

-- name: fill_removed(ended)!
-- Store removed messages of some sessions: the last twenty of each.
INSERT INTO removed_messages (
    session_id, sequence, message_id, role, content, metadata, created_at, removed_at
)
SELECT
    p.session_id,
    p.messages + g.n AS sequence,
    'removed' || g.n AS message_id,
    'assistant' AS role,
    'An earlier version of an answer, at the length of a few lines or so, which was asked for again.' AS content,
    '{}' AS metadata,
    :ended::timestamptz - interval '2 hours' AS created_at,
    :ended::timestamptz - interval '1 hour' + p.active_for AS removed_at
FROM large_plan AS p
CROSS JOIN LATERAL generate_series(0, p.removed - 1) AS g (n);

-- name: fill_tombstones(ended)!
-- Store the tombstones of deleted sessions: one for every twenty sessions, a day older than the sessions.
INSERT INTO sessions (session_id, status, metadata, next_sequence, message_count, created_at, updated_at, listed_at)
SELECT
    'deleted' || p.session_id AS session_id,
    'deleted' AS status,
    '{}' AS metadata,
    2 AS next_sequence,
    0 AS message_count,
    :ended::timestamptz - interval '2 days' AS created_at,
    :ended::timestamptz - interval '1 day' + p.active_for AS updated_at,
    :ended::timestamptz - interval '1 day' + p.active_for AS listed_at
FROM large_plan AS p
WHERE mod(p.n, 20) = 0;

-- name: drop_plan#
-- Drop the temporary tables.
DROP TABLE large_plan, large_texts;

-- name: settle#
-- Vacuum and analyze, so that the figures do not depend on autovacuum.
VACUUM (ANALYZE) sessions, messages, removed_messages, changes;
