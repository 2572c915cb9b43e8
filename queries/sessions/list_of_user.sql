-- name: list_of_user(user_id, statuses, updated_before, id_before, limit)
-- List a user's sessions, the latest activity first: a page. The first page comes before
-- ('infinity', ''), the next before the (updated_at, session_id) of the last row of this one.
--
-- One statement: for each wanted status one walk along the index, which stops after a page; the sort is
--   within an hour alone. The statuses stand in a subquery so that the planner does not count them and
--   plan anew for each call. A session that becomes active between two pages moves ahead of them.
-- Index: sessions_of_user_by_recency, backwards.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; rows O(1) in the sessions;
--   buffers O(n) in the page;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on sessions
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: SessionRecord, the latest activity first; no row when there are no more.
SELECT
    s.session_id,
    s.source,
    s.user_id,
    s.parent_id,
    s.status,
    s.next_sequence,
    s.message_count,
    s.agent_ids,
    s.metadata,
    s.created_at,
    s.updated_at,
    s.archived_at
FROM unnest((SELECT :statuses::text[])) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT
        s.session_id,
        s.source,
        s.user_id,
        s.parent_id,
        s.status,
        s.next_sequence,
        s.message_count,
        s.agent_ids,
        s.metadata,
        s.created_at,
        s.updated_at,
        s.archived_at
    FROM sessions AS s
    WHERE
        s.status = wanted.status
        AND s.user_id = :user_id::text
        AND (s.active_hour, s.updated_at, s.session_id) < (
            date_bin('1 hour', :updated_before::timestamptz, '2000-01-01 00:00+00'),
            :updated_before::timestamptz,
            :id_before::text
        )
    ORDER BY s.active_hour DESC, s.updated_at DESC, s.session_id DESC
    LIMIT :limit::bigint
) AS s
ORDER BY s.updated_at DESC, s.session_id DESC
LIMIT :limit::bigint;
