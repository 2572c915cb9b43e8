-- name: count_of_user(user_id)
-- Count a user's sessions by their status.
--
-- One statement: One index-only scan for each status, which reads the row of a session only if it has
--   changed since the last vacuum. The LIMIT is none; with it, a generic plan never scans the table instead,
--   however few sessions there are.
-- Index: sessions_listed_of_user.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(n) in the user's sessions, at most n/50;
--   at most 40 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on sessions
-- Never: Seq Scan; Sort
-- Repeat: safe: it only reads.
-- Returns: CountedSessions; one row for each status, with 0 if no row has it.
SELECT
    wanted.status,
    counted.sessions
FROM unnest(ARRAY['active', 'paused', 'archived', 'trashed']) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT count(*) AS sessions
    FROM (
        SELECT s.session_id
        FROM sessions AS s
        WHERE s.user_id = :user_id::text AND s.status = wanted.status
        ORDER BY s.listed_at, s.session_id
        LIMIT (SELECT NULL::bigint)
    ) AS s
) AS counted;
