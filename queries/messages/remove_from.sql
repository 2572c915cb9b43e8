-- name: remove_from(session_id, sequence, removal_id, owner)^
-- Remove a session's messages from a sequence number on: to regenerate an answer, or to take the last
-- message back. The numbers are not given out again.
--
-- One statement: the session's row is locked first, as by an append, so no append can come between the
--   removal and the count; what an append stored while this waited keeps its (higher) number.
--   A removal that removed something is noted for an hour, so that sending it again removes nothing that was
--   appended since. One that removed nothing is not: sent again, it is as if it had been sent later.
--   With an owner, a session that is not that user's is as one that is not stored.
-- Index: sessions_pkey, messages_pkey, removals_pkey.
-- Rows locked: the session's row until the commit, then the removed messages.
-- Promises: 1 round trip; buffers O(log n) in the session's messages;
--   buffers O(n) in the removed messages, at most 3 buffers each;
--   WAL O(n) in the removed messages, at most 75 WAL bytes each; at most 30 buffers; at most 7 WAL records;
--   buffers O(log n) in the user's sessions;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removals; 1 row of sessions; any rows of messages FOR UPDATE;
--   waits for rows of sessions, messages
-- Never: Seq Scan on sessions
-- Repeat: safe: the removal_id is found, and what was appended since stays.
-- Returns: Removed; no row when no such session is stored.
--   When the session is archived, nothing is removed and is_refused is true. The same removal_id again
--   gives what was removed the first time. While the first of two equal removals has not committed, the
--   second waits and then fails with 23505; it is safe to repeat.
WITH prior AS (
    SELECT
        r.session_id,
        r.messages
    FROM removals AS r
    WHERE r.session_id = :session_id::text AND r.removal_id = :removal_id::text
),

session AS MATERIALIZED (
    SELECT
        s.session_id,
        s.status
    FROM sessions AS s
    WHERE
        s.session_id = :session_id::text
        AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
        AND NOT EXISTS (SELECT FROM prior)
    FOR NO KEY UPDATE
),

removed AS (
    DELETE FROM messages AS m
    USING session AS s
    WHERE
        m.session_id = :session_id::text
        AND m.sequence >= :sequence::bigint
        AND s.status <> 'archived'
    RETURNING m.sequence
),

total AS (
    SELECT coalesce(sum(1), 0)::bigint AS messages FROM removed
),

counted AS (
    UPDATE sessions AS s SET
        message_count = s.message_count - t.messages,
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
    RETURNING s.session_id
),

noted AS (
    INSERT INTO removals AS r (session_id, removal_id, sequence, messages, removed_at)
    SELECT
        s.session_id,
        :removal_id::text,
        :sequence::bigint,
        t.messages,
        statement_timestamp()
    FROM session AS s
    CROSS JOIN total AS t
    WHERE t.messages > 0
),

pruned AS (
    DELETE FROM removals AS r
    USING total AS t
    WHERE
        r.session_id = :session_id::text
        AND r.removed_at < statement_timestamp() - interval '1 hour'
        AND t.messages > 0
)

SELECT
    t.messages,
    s.status = 'archived' AS is_refused
FROM session AS s
CROSS JOIN total AS t
UNION ALL
SELECT
    p.messages,
    false AS is_refused
FROM prior AS p
WHERE
    (SELECT :owner::text) IS NULL
    OR (SELECT :owner::text) = (
        SELECT s.user_id
        FROM sessions AS s
        WHERE s.session_id = p.session_id
    );
