-- name: delete_idle(idle_since, passed_over, limit, patience)
-- Delete sessions, with their messages, in which nothing has happened since a time; the longest idle
-- first, at most so many at once (so that no statement runs for hours: repeat until none is left).
--
-- One statement: a session that is being written to at this moment is passed over instead of waited
--   for, and one that was written to since the search began is looked at again under its lock and left.
--   `patience` is a lock_timeout for this statement alone, or null. The sessions' rows are never waited for, but
--   somebody may hold a row that goes with one of them, such as one of a table that refers to messages: then the
--   statement fails with 55P03, having deleted nothing. The store halves `limit`, and in the end passes that session
--   over: the search begins after so many that are `passed_over`.
--   A session whose place is ahead of the clock, because the clock was once ahead, gets the present time: it is
--   deleted when it has been idle from now on. One whose updated_at alone is ahead, as an import may bring it, goes
--   by its place.
-- Index: sessions_listed, forwards; sessions_pkey, and messages_pkey for the messages.
-- Rows locked: the deleted rows until the commit. Waits for nobody, so it cannot deadlock.
-- Promises: 1 round trip; buffers O(log n) in the sessions;
--   buffers O(n) in the deleted sessions, at most 27 buffers each;
--   WAL O(n) in the deleted sessions, at most 281 WAL bytes each; at most 279 buffers; at most 59 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removals; any rows of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE; waits for rows of messages, removals
-- Never: Seq Scan on messages
-- Repeat: not safe: the ids of what was deleted would be lost; call it again for those that are left.
-- Returns: Deleted; no row when no session has been idle for so long.
WITH patience AS (
    SELECT CASE WHEN :patience::text IS NOT NULL THEN set_config('lock_timeout', :patience::text, true) END AS set_to
),

ahead AS (
    SELECT a.session_id
    FROM unnest(ARRAY['active', 'paused', 'archived']) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE
            s.status = wanted.status
            AND s.status <> ''
            AND s.listed_at > statement_timestamp() + interval '1 hour'
        ORDER BY s.listed_at DESC
        LIMIT :limit::bigint
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS a
),

relisted AS (
    UPDATE sessions AS s SET
        listed_at = statement_timestamp(),
        updated_at = least(s.updated_at, statement_timestamp())
    WHERE s.session_id = any(array(SELECT a.session_id FROM ahead AS a))
),

candidate AS (
    SELECT c.session_id
    FROM unnest(ARRAY['active', 'paused', 'archived']) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT
            s.session_id,
            s.listed_at
        FROM sessions AS s
        WHERE
            s.status = wanted.status
            AND s.status <> ''
            AND s.listed_at < :idle_since::timestamptz
            AND CASE
                WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN s.listed_at
                ELSE s.updated_at
            END < :idle_since::timestamptz
        ORDER BY s.listed_at, s.session_id
        LIMIT :limit::bigint + :passed_over::bigint
    ) AS c
    CROSS JOIN patience
    ORDER BY c.listed_at, c.session_id
    LIMIT :limit::bigint
    OFFSET :passed_over::bigint
),

idle AS MATERIALIZED (
    SELECT i.session_id
    FROM candidate AS c
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE
            s.session_id = c.session_id
            AND CASE
                WHEN s.updated_at > statement_timestamp() + interval '1 hour' THEN s.listed_at
                ELSE s.updated_at
            END < :idle_since::timestamptz
        FOR UPDATE SKIP LOCKED
    ) AS i
)

DELETE FROM sessions AS s
WHERE s.session_id = any(array(SELECT i.session_id FROM idle AS i))
RETURNING s.session_id;
