-- name: count_of_user(user_id)
-- Count a user's sessions by their status.
--
-- One statement: One query runs on all shards. Each shard counts its sessions of the user, and the node that the
--   client is connected to adds up the counts.
-- Index: sessions_listed_of_user.
-- Rows locked: none.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 3 each
-- Locks: AccessShare on sessions
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: CountedSessions; one row for each status, with 0 if no row has it.
SELECT
    wanted.status,
    coalesce(counted.sessions, 0) AS sessions
FROM unnest(ARRAY['active', 'paused', 'archived', 'trashed']) AS wanted (status)
LEFT JOIN (
    SELECT
        s.status,
        count(*) AS sessions
    FROM sessions AS s
    WHERE s.user_id = :user_id::text
    GROUP BY s.status
) AS counted ON wanted.status = counted.status::text;
