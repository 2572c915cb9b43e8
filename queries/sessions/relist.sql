-- name: relist(owner)
-- Move sessions whose place in lists is in the future to the present time.
--
-- One statement: A store sends it if a list begins with such a session, so that a clock that was once
--   ahead does not keep sessions at the top of every list. An append does the same for its own session.
--   With `owner`, another user's session behaves as if it did not exist.
-- Index: sessions_listed, backwards; sessions_pkey.
-- Rows locked: at most a thousand of those sessions of each status, until the commit. Waits for nobody: it
--   skips rows that are locked, which a later list moves.
-- Promises: 1 round trip; buffers O(log n) in the sessions; at most 39 buffers; at most 9 WAL records
-- Locks: RowExclusive on sessions; any rows of sessions FOR NO KEY UPDATE
-- Never: none
-- Repeat: safe: their places are no longer in the future.
-- Returns: Relisted; no row if no place was in the future.
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
