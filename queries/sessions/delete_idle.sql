-- name: delete_idle(idle_since, limit)
-- Delete sessions, with their messages, in which nothing has happened since a time; the longest idle
-- first, at most so many at once (so that no statement runs for hours: repeat until none is left).
--
-- One statement: a session that is being written to at this moment is passed over instead of waited
--   for, and one that was written to since the search began is looked at again under its lock and left.
-- Index: sessions_by_recency, forwards; sessions_pkey, and messages_pkey for the messages.
-- Rows locked: the deleted rows until the commit. Waits for nobody, so it cannot deadlock.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(n) in the deleted sessions;
--   WAL O(n) in the deleted sessions;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removals; any rows of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE; waits for rows of messages, removals
-- Never: Seq Scan on messages
-- Repeat: not safe: the ids of what was deleted would be lost; call it again for those that are left.
-- Returns: Deleted; no row when no session has been idle for so long.
WITH candidate AS (
    SELECT c.session_id
    FROM unnest(ARRAY['active', 'paused', 'archived']) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT
            s.session_id,
            s.updated_at
        FROM sessions AS s
        WHERE
            s.status = wanted.status
            AND s.active_hour <= date_bin('1 hour', :idle_since::timestamptz, '2000-01-01 00:00+00')
            AND s.updated_at < :idle_since::timestamptz
        ORDER BY s.active_hour, s.updated_at
        LIMIT :limit::bigint
    ) AS c
    ORDER BY c.updated_at
    LIMIT :limit::bigint
),

idle AS MATERIALIZED (
    SELECT s.session_id
    FROM sessions AS s
    WHERE
        s.session_id IN (SELECT c.session_id FROM candidate AS c)
        AND s.updated_at < :idle_since::timestamptz
    FOR UPDATE SKIP LOCKED
)

DELETE FROM sessions AS s
USING idle AS i
WHERE s.session_id = i.session_id
RETURNING s.session_id;
