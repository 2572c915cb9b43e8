-- name: relist(owner)
-- Give the present time as their place in lists to sessions whose place is ahead of the clock.
--
-- One statement: a store sends it when the first session of a list is one of those. A clock that was once ahead
--   must not keep them at the top of every list. An append does the same for its own session.
--   With an owner, a session that is not that user's is as one that is not stored.
-- Index: sessions_listed, backwards; sessions_pkey.
-- Rows locked: at most a thousand of those sessions until the commit. Waits for nobody: a row that another has
--   locked is left to a later list.
-- Promises: 1 round trip; buffers O(log n) in the sessions; at most 39 buffers; at most 9 WAL records
-- Locks: RowExclusive on sessions; any rows of sessions FOR NO KEY UPDATE
-- Never: none
-- Repeat: safe: they are found ahead of the clock no more.
-- Returns: Relisted; no row when no session was ahead.
WITH ahead AS MATERIALIZED (
    SELECT a.session_id
    FROM unnest(ARRAY['active', 'paused', 'archived']) AS wanted (status)
    CROSS JOIN LATERAL (
        SELECT s.session_id
        FROM sessions AS s
        WHERE
            s.status = wanted.status
            AND s.status <> ''
            AND s.listed_at > statement_timestamp() + interval '1 hour'
            AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
        ORDER BY s.listed_at DESC, s.session_id DESC
        LIMIT 1000
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS a
)

UPDATE sessions AS s SET
    listed_at = statement_timestamp(),
    updated_at = least(s.updated_at, statement_timestamp())
WHERE s.session_id = any(array(SELECT a.session_id FROM ahead AS a))
RETURNING s.session_id;
