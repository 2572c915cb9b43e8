-- name: list_of_parent(parent_id, user_id, statuses, place_before, id_before, limit)
-- List the children of a session, latest activity first, one page at a time: its forks, and the sessions
-- that were begun with it as their parent. The first page starts before ('infinity', ''); each later one
-- before the (place, session_id) of the previous page's last row.
--
-- One statement: One index scan for each wanted status. The index has the order of the list, and each scan
--   stops when the page is full, so only the rows of the page are sorted. Sessions that were active within
--   the same minute may appear in any order, since a session moves up at most once a minute (see schema.sql).
--   A session that becomes active between two pages moves to the first page. The statuses are passed through
--   a subquery, so that the planner does not count them and replan each call. With `user_id`, the scan skips
--   children of other users; this is written as CASE, since the planner would expect an OR to match hardly
--   any row.
-- Index: sessions_listed_of_parent, backwards.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; rows O(1) in the sessions;
--   buffers O(n) in the page, at most n/9; at most 74 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on sessions
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: ListedSession; latest activity first; no row after the last session.
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
    s.archived_at,
    s.revision,
    s.fork_point,
    s.place,
    s.place > statement_timestamp() + interval '1 hour' AS is_ahead
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
        s.archived_at,
        s.revision,
        s.fork_point,
        s.listed_at AS place
    FROM sessions AS s
    WHERE
        s.status = wanted.status
        AND s.parent_id = :parent_id::text
        AND CASE WHEN :user_id::text IS NULL THEN true ELSE s.user_id = :user_id::text END
        AND (s.listed_at, s.session_id) < (:place_before::timestamptz, :id_before::text)
    ORDER BY s.listed_at DESC, s.session_id DESC
    LIMIT :limit::bigint
) AS s
ORDER BY s.place DESC, s.session_id DESC
LIMIT :limit::bigint;
