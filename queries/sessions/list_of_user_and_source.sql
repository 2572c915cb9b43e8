-- name: list_of_user_and_source(user_id, source, statuses, place_before, id_before, limit)
-- List a user's sessions from a source, the latest activity first: a page. The first page comes before
-- ('infinity', ''), the next before the (place, session_id) of the last row of this one.
--
-- One statement: it is exact. A session's place is its updated_at, which is never as much as a minute after its
--   listed_at (see schema.sql; where it is, because a clock was ahead or an import brought it, listed_at is the
--   place). For each wanted status a first walk along the index, which has the rows by listed_at, finds
--   where a full page would end; a second one reads the page and the minute before it, which may hold sessions
--   that belong on the page. A session that becomes active between two pages moves ahead of them.
--   Each coalesce is there for the planner: it would expect that the comparison of places leaves few rows, and sort
--   them all, or walk the source's index over the sessions of other users.
--   The statuses stand in a subquery so that the planner does not count them and plan anew for each call.
-- Index: sessions_listed_of_user (of the user's sessions, those from elsewhere are passed over), backwards.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; rows O(1) in the sessions;
--   buffers O(n) in the page, at most n/4; buffers O(n) in the user's sessions from elsewhere, at most n/3;
--   at most 180 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on sessions
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: ListedSession; the latest activity first; no row when there are no more.
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
        p.place
    FROM sessions AS s
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN s.updated_at BETWEEN s.listed_at AND s.listed_at + interval '1 minute' THEN s.updated_at
                ELSE s.listed_at
            END AS place
    ) AS p
    WHERE
        s.user_id = :user_id::text
        AND coalesce(s.source = :source::text, false)
        AND s.status = wanted.status
        AND s.listed_at <= :place_before::timestamptz
        AND s.listed_at >= (
            SELECT min(w.place) - interval '1 minute'
            FROM (
                SELECT p.place
                FROM sessions AS f
                CROSS JOIN LATERAL (
                    SELECT
                        CASE
                            WHEN f.updated_at BETWEEN f.listed_at AND f.listed_at + interval '1 minute'
                                THEN f.updated_at
                            ELSE f.listed_at
                        END AS place
                ) AS p
                WHERE
                    f.user_id = :user_id::text
                    AND coalesce(f.source = :source::text, false)
                    AND f.status = wanted.status
                    AND f.listed_at <= :place_before::timestamptz
                    AND coalesce((p.place, f.session_id) < (:place_before::timestamptz, :id_before::text), false)
                ORDER BY f.listed_at DESC, f.session_id DESC
                LIMIT :limit::bigint
            ) AS w
        )
        AND (p.place, s.session_id) < (:place_before::timestamptz, :id_before::text)
    ORDER BY p.place DESC, s.session_id DESC
    LIMIT :limit::bigint
) AS s
ORDER BY s.place DESC, s.session_id DESC
LIMIT :limit::bigint;
