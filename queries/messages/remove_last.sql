-- name: remove_last(session_id, n, change_id, keep, if_next, owner)
-- Remove the last messages, and return them. Their numbers are not used again.
--
-- One statement: Like remove_from, but a backward index scan of `n` messages finds the first number. A message
--   that was appended while the statement waited for the lock has a higher number, and stays. If the session
--   was changed in another way meanwhile, nothing is removed and is_stale is true; run it again. So two callers
--   never get the same message, and each gets messages as long as there are any. The DELETE also has an upper
--   limit of the numbers: otherwise the planner would expect a third of the session's messages, and compile the
--   plan (jit).
-- Index: sessions_pkey, messages_pkey backwards, changes_pkey; removed_messages_pkey for a repeated
--   removal.
-- Rows locked: the session's row, until the commit, then the removed messages.
-- Promises: 1 round trip; buffers O(log n) in the session's messages;
--   buffers O(n) in the removed messages, at most 15 buffers each;
--   WAL O(n) in the removed messages, at most 380 WAL bytes each; at most 52 buffers; at most 10 WAL records;
--   buffers O(n) in the session's changes, at most n/20;
--   buffers O(log n) in the user's sessions;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: the repeated statement finds the change_id, removes nothing more, and returns the messages from
--   removed_messages. Without `keep` it returns only their number, since they were not kept.
-- Returns: RemovedRow; in the order of sequence; no row if the session is not stored, or if a temporary table
--   hides removed_messages. Each row has the number of removed messages; if none was removed, there is one row
--   without a message. If the session is archived, trashed or deleted, or its next number is not `if_next`,
--   nothing is removed and is_refused is true.
WITH prior AS (
    SELECT
        c.session_id,
        c.messages,
        c.first_sequence,
        c.last_sequence,
        c.changed_at
    FROM changes AS c
    WHERE c.session_id = :session_id::text AND c.change_id = :change_id::text
),

session AS MATERIALIZED (
    SELECT
        s.session_id,
        (
            s.status IN ('active', 'paused')
            AND ((SELECT :if_next::bigint) IS NULL OR s.next_sequence = (SELECT :if_next::bigint))
        ) AS is_open,
        s.revision <> seen.revision AS is_stale
    FROM sessions AS s
    INNER JOIN sessions AS seen ON s.session_id = seen.session_id
    WHERE
        s.session_id = :session_id::text
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
        AND NOT EXISTS (SELECT FROM prior)
        AND (
            pg_my_temp_schema() = 0
            OR to_regclass('pg_temp.removed_messages') IS DISTINCT FROM to_regclass('removed_messages')
        )
    FOR NO KEY UPDATE OF s
),

last AS (
    SELECT m.sequence
    FROM session AS s
    CROSS JOIN LATERAL (
        SELECT m.sequence
        FROM messages AS m
        WHERE m.session_id = s.session_id
        ORDER BY m.sequence DESC
        LIMIT :n::bigint
    ) AS m
    WHERE s.is_open AND NOT s.is_stale
),

removed AS (
    DELETE FROM messages AS m
    WHERE
        m.session_id = :session_id::text
        AND m.sequence BETWEEN (SELECT min(l.sequence) FROM last AS l) AND (SELECT max(l.sequence) FROM last AS l)
    RETURNING m.session_id, m.sequence, m.message_id, m.role, m.agent_id, m.content, m.metadata, m.created_at
),

kept AS (
    INSERT INTO removed_messages AS k (
        session_id, sequence, message_id, role, agent_id, content, metadata, created_at, removed_at
    )
    SELECT
        r.session_id,
        r.sequence,
        r.message_id,
        r.role,
        r.agent_id,
        r.content,
        r.metadata,
        r.created_at,
        statement_timestamp()
    FROM removed AS r
    WHERE :keep::boolean
),

total AS (
    SELECT
        count(*) AS messages,
        min(r.sequence) AS first_sequence,
        max(r.sequence) AS last_sequence
    FROM removed AS r
),

counted AS (
    UPDATE sessions AS s SET
        message_count = s.message_count - t.messages,
        revision = s.revision + 1,
        updated_at = CASE
            WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
            ELSE greatest(s.updated_at, statement_timestamp())
        END,
        listed_at = CASE
            WHEN
                statement_timestamp() < s.listed_at + interval '1 minute'
                AND s.listed_at < statement_timestamp() + interval '1 hour'
                THEN s.listed_at
            ELSE statement_timestamp()
        END
    FROM total AS t
    WHERE s.session_id = :session_id::text AND t.messages > 0
    RETURNING s.session_id, s.revision
),

noted AS (
    INSERT INTO changes AS c (
        session_id, change_id, revision, kind, first_sequence, last_sequence, messages, changed_at
    )
    SELECT
        s.session_id,
        (SELECT :change_id::text) AS change_id,
        s.revision,
        'remove' AS kind,
        t.first_sequence,
        t.last_sequence,
        t.messages,
        statement_timestamp()
    FROM counted AS s
    CROSS JOIN total AS t
),

pruned AS (
    DELETE FROM changes AS c
    USING total AS t
    WHERE
        c.session_id = :session_id::text
        AND c.changed_at < statement_timestamp() - interval '1 hour'
        AND t.messages > 0
),

state AS (
    SELECT
        t.messages,
        NOT s.is_open AS is_refused,
        s.is_stale
    FROM session AS s
    CROSS JOIN total AS t
    UNION ALL
    SELECT
        p.messages,
        false AS is_refused,
        false AS is_stale
    FROM prior AS p
    WHERE
        (SELECT :owner::text) IS NULL
        OR (SELECT :owner::text) = (
            SELECT s.user_id
            FROM sessions AS s
            WHERE s.session_id = p.session_id
        )
),

gone AS (
    SELECT
        r.session_id,
        r.sequence,
        r.message_id,
        r.role,
        r.agent_id,
        r.content,
        r.metadata,
        r.created_at
    FROM removed AS r
    UNION ALL
    SELECT
        k.session_id,
        k.sequence,
        k.message_id,
        k.role,
        k.agent_id,
        k.content,
        k.metadata,
        k.created_at
    FROM prior AS p
    INNER JOIN removed_messages AS k
        ON
            p.session_id = k.session_id
            AND k.sequence BETWEEN p.first_sequence AND p.last_sequence
            AND p.changed_at = k.removed_at
)

SELECT
    s.messages,
    s.is_refused,
    s.is_stale,
    g.session_id,
    g.sequence,
    g.message_id,
    g.role,
    g.agent_id,
    g.content,
    g.metadata,
    g.created_at
FROM state AS s
LEFT JOIN gone AS g ON true
ORDER BY g.sequence;
