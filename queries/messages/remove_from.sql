-- name: remove_from(session_id, sequence, change_id, keep, if_next, owner)^
-- Remove the messages from a sequence number on, for example to regenerate an answer. Their numbers are not
-- used again.
--
-- One statement: It locks the session's row first, as an append does, so no append can run between the
--   removal and the new count. It removes the messages that its snapshot shows: messages that were appended
--   while it waited for the lock have higher numbers, and stay. If the session was changed in another way
--   meanwhile, as by another removal, nothing happens and is_stale is true: `seen` is the snapshot's version
--   of the row, and a row with another revision is newer. If `if_next` is not null, a session whose next
--   number is another one keeps its messages. With `keep`, the messages move to removed_messages, unless a
--   temporary table of the connection hides it. The change is recorded for an hour, so that repeating it does
--   not remove messages that were appended since. A removal of nothing is not recorded: to repeat it is the
--   same as to send it later. With `owner`, another user's session behaves as if it did not exist.
-- Index: sessions_pkey, messages_pkey, changes_pkey.
-- Rows locked: the session's row, until the commit, then the removed messages.
-- Promises: 1 round trip; buffers O(log n) in the session's messages;
--   buffers O(n) in the removed messages, at most 15 buffers each;
--   WAL O(n) in the removed messages, at most 380 WAL bytes each; at most 48 buffers; at most 10 WAL records;
--   buffers O(n) in the session's changes, at most n/20;
--   buffers O(log n) in the user's sessions;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages
-- Never: Seq Scan on sessions
-- Repeat: safe: the repeated statement finds the change_id, and removes nothing more. If the first one
--   still runs, it waits for that one, and is stale.
-- Returns: Removed; no row if the session is not stored, or if nothing could be kept. If the session is
--   archived, trashed or deleted, or not as if_next asks, nothing is removed and is_refused is true. The same
--   change_id again returns the first outcome.
WITH prior AS (
    SELECT
        c.session_id,
        c.messages
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

removed AS (
    DELETE FROM messages AS m
    USING session AS s
    WHERE
        m.session_id = :session_id::text
        AND m.sequence >= :sequence::bigint
        AND s.is_open
        AND NOT s.is_stale
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
)

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
    );
