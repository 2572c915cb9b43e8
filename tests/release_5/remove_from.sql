-- name: remove_from(session_id, sequence, removal_id, owner)^
-- Remove the messages from a sequence number on, for example to regenerate an answer. Their numbers are
-- not used again.
--
-- One statement: It locks the session's row first, as an append does, so no append can run between the
--   removal and the new count. Messages that were appended while this statement waited for the lock stay.
--   A removal is recorded for an hour, so that repeating it does not remove messages that were appended
--   since. A removal of nothing is not recorded: to repeat it is the same as to send it later. With
--   `owner`, another user's session behaves as if it did not exist.
-- Index: sessions_pkey, messages_pkey, removals_pkey.
-- Rows locked: the session's row, until the commit, then the removed messages.
-- Promises: 1 round trip; buffers O(log n) in the session's messages;
--   buffers O(n) in the removed messages, at most 3 buffers each;
--   WAL O(n) in the removed messages, at most 75 WAL bytes each; at most 30 buffers; at most 7 WAL records;
--   buffers O(log n) in the user's sessions;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removals; 1 row of sessions; any rows of messages FOR UPDATE;
--   waits for rows of sessions, messages
-- Never: Seq Scan on sessions
-- Repeat: safe: the repeated statement finds the removal_id, and removes nothing more.
-- Returns: Removed; no row if the session is not stored. If the session is archived, nothing is removed
--   and is_refused is true. The same removal_id again returns the first outcome. If two equal removals run
--   at the same time, the second waits for the first and fails with 23505; it is safe to repeat.
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
