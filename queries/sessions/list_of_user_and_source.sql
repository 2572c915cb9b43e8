-- name: list_of_user_and_source(user_id, source, statuses, place_before, id_before, limit)
-- List a user's sessions from a source, latest activity first, one page at a time. The first page starts
-- before ('infinity', ''); each later one before the (place, session_id) of the previous page's last row.
--
-- One statement: The order is exact. A session's place is its updated_at, if that is at most a minute later
--   than its listed_at (see schema.sql). Otherwise, because a clock was ahead or the session was imported, it
--   is listed_at. For each wanted status, a first index scan by listed_at finds where a full page ends. A
--   second one reads the page and one minute more, which may contain sessions that belong on the page. A
--   session that becomes active between two pages moves to the first page. The coalesces are for the planner,
--   which would otherwise expect the comparison of places to match few rows, and sort all sessions of the user,
--   or scan the source's index through other users' sessions. In the inner scan one coalesce encloses both
--   comparisons: with two it would expect half as many rows, and sort for a long page. The statuses are passed
--   through a subquery, so that the planner does not count them and replan each call.
-- Index: sessions_listed_of_user, backwards; it skips the user's sessions from other sources.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; rows O(1) in the sessions;
--   buffers O(n) in the page, at most n/4; buffers O(n) in the user's sessions from elsewhere, at most n/3;
--   rows O(n) in the user's sessions of a minute;
--   buffers O(n) in the user's sessions of a minute, at most 2 buffers each; at most 180 buffers; at most 10 ms of CPU;
--   no sleeps; no temporary bytes
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
                    AND f.status = wanted.status
                    AND f.listed_at <= :place_before::timestamptz
                    AND coalesce(
                        f.source = :source::text
                        AND (p.place, f.session_id) < (:place_before::timestamptz, :id_before::text),
                        false
                    )
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
