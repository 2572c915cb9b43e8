-- name: erase_user(user_id, limit, message_limit)^
-- Delete at most `limit` sessions of a user, with at most `message_limit` messages (null: no limit), and with
-- everything else that belongs to these sessions. Return the counts of what was deleted. Call it until it finds
-- nothing.
--
-- One statement: It locks the sessions in the order of their ids, as append_all does, so the two cannot
--   deadlock. If a session was changed while this statement waited for its lock, it is left for the next call,
--   whose snapshot shows the change; otherwise its removed messages could not be counted. The foreign keys
--   delete the messages, the removed messages and the changes. Each session leaves a tombstone without the
--   user's id. LIMIT ALL keeps the planner from joining the search for forks with the rest, for which it would
--   read the whole table. If the first session has more than `message_limit` messages, nothing is deleted; the
--   store then deletes it by messages.delete_range and then this statement, in one transaction.
-- Index: sessions_listed_of_user, sessions_listed_of_parent, removed_messages_pkey; sessions_pkey, and
--   messages_pkey for the messages; the insert of tombstones writes to sessions_pkey and sessions_listed.
-- Rows locked: the deleted rows, until the commit. Waits for writers of these sessions.
-- Promises: 1 round trip; buffers O(log n) in the sessions;
--   buffers O(n) in the deleted sessions, at most 40 buffers each;
--   WAL O(n) in the deleted sessions, at most 575 WAL bytes each; at most 360 buffers; at most 80 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; any rows of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages, removed_messages, changes
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: not safe: the counts of what was deleted would be lost. Call it again for the remaining sessions.
-- Returns: ErasureStep; one row, never no row; its counts are zero if the user has no sessions. `found` is the
--   number of the user's sessions, at most `limit`. `first_id` is the first of them; next_sequence is set if it
--   has more than `message_limit` messages. `forks` has the ids of other users' forks of the deleted sessions,
--   and of forks of those.
WITH RECURSIVE candidate AS MATERIALIZED (
    SELECT
        c.session_id,
        c.revision,
        c.place,
        c.fits,
        CASE WHEN c.message_count > :message_limit::bigint THEN c.next_sequence END AS next_sequence
    FROM (
        SELECT
            w.session_id,
            w.revision,
            w.message_count,
            w.next_sequence,
            row_number() OVER in_order AS place,
            (:message_limit::bigint IS NULL OR sum(w.message_count) OVER in_order <= :message_limit::bigint) AS fits
        FROM (
            SELECT
                s.session_id,
                s.revision,
                s.message_count,
                s.next_sequence,
                s.status,
                s.listed_at
            FROM sessions AS s
            WHERE s.user_id = :user_id::text
            ORDER BY s.status, s.listed_at, s.session_id
            LIMIT :limit::bigint
        ) AS w
        WINDOW in_order AS (ORDER BY w.status, w.listed_at, w.session_id)
    ) AS c
    ORDER BY c.session_id
),

unchanged AS MATERIALIZED (
    SELECT l.session_id
    FROM candidate AS c
    CROSS JOIN LATERAL (
        SELECT
            s.session_id,
            s.revision
        FROM sessions AS s
        WHERE s.session_id = c.session_id AND s.user_id = :user_id::text
        FOR UPDATE
    ) AS l
    WHERE c.fits AND l.revision = c.revision
),

deleted AS (
    DELETE FROM sessions AS s
    WHERE s.session_id = any(array(SELECT u.session_id FROM unchanged AS u))
    RETURNING s.session_id, s.next_sequence, s.message_count, s.revision, s.created_at, s.updated_at
),

tombstone AS (
    INSERT INTO sessions (
        session_id, status, metadata, next_sequence, message_count, revision, created_at, updated_at, listed_at
    )
    SELECT
        d.session_id,
        'deleted',
        '{}',
        d.next_sequence,
        0,
        d.revision + 1,
        d.created_at,
        CASE
            WHEN d.updated_at > statement_timestamp() + interval '1 hour' THEN statement_timestamp()
            ELSE greatest(d.updated_at, statement_timestamp())
        END,
        statement_timestamp()
    FROM deleted AS d
),

fork (session_id) AS (
    SELECT c.session_id
    FROM unchanged AS u
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE
            s.parent_id = u.session_id
            AND s.fork_point IS NOT NULL
            AND s.user_id IS DISTINCT FROM :user_id::text
        ORDER BY s.status, s.listed_at, s.session_id
        LIMIT ALL
    ) AS c
    UNION
    SELECT c.session_id
    FROM fork AS f
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE
            s.parent_id = f.session_id
            AND s.fork_point IS NOT NULL
            AND s.user_id IS DISTINCT FROM :user_id::text
        ORDER BY s.status, s.listed_at, s.session_id
        LIMIT ALL
    ) AS c
)

SELECT
    (
        SELECT count(*)
        FROM candidate
    ) AS found,
    count(*) AS sessions,
    coalesce(sum(d.message_count), 0)::bigint AS messages,
    (
        SELECT coalesce(sum(k.messages), 0)::bigint
        FROM unchanged AS u
        CROSS JOIN LATERAL (
            SELECT count(*) AS messages
            FROM removed_messages AS r
            WHERE r.session_id = u.session_id
        ) AS k
    ) AS removed_messages,
    array(
        SELECT f.session_id::text
        FROM fork AS f
        ORDER BY f.session_id
    ) AS forks,
    (
        SELECT c.session_id::text
        FROM candidate AS c
        WHERE c.place = 1
    ) AS first_id,
    (
        SELECT c.next_sequence
        FROM candidate AS c
        WHERE c.place = 1
    ) AS next_sequence
FROM deleted AS d;
