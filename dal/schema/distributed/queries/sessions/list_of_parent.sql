-- name: list_of_parent(parent_id, user_id, statuses, place_before, id_before, limit)
-- List the children of a session, latest activity first, one page at a time: its forks, and the sessions
-- that were begun with it as their parent. The first page starts before ('infinity', ''); each later one
-- before the (place, session_id) of the previous page's last row.
--
-- One statement: One query for each wanted status runs on all shards. Each shard scans its index and stops when the
--   page is full; the node that the client is connected to merges the rows. Other statuses are not queried. There
--   is no common snapshot of the shards.
-- Index: sessions_listed_of_parent, backwards.
-- Rows locked: none.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 6 each
-- Locks: AccessShare on sessions
-- Never: none
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
    s.listed_at AS place,
    s.listed_at > statement_timestamp() + interval '1 hour' AS is_ahead
FROM (
    (
        SELECT s.*
        FROM sessions AS s
        WHERE
            s.status = 'active'
            AND s.status <> ''
            AND 'active' = any(:statuses::text[])
            AND s.parent_id = :parent_id::text
            AND (:user_id::text IS NULL OR s.user_id = :user_id::text)
            AND (s.listed_at, s.session_id) < (:place_before::timestamptz, :id_before::text)
        ORDER BY s.listed_at DESC, s.session_id DESC
        LIMIT :limit::bigint
    )
    UNION ALL
    (
        SELECT s.*
        FROM sessions AS s
        WHERE
            s.status = 'paused'
            AND s.status <> ''
            AND 'paused' = any(:statuses::text[])
            AND s.parent_id = :parent_id::text
            AND (:user_id::text IS NULL OR s.user_id = :user_id::text)
            AND (s.listed_at, s.session_id) < (:place_before::timestamptz, :id_before::text)
        ORDER BY s.listed_at DESC, s.session_id DESC
        LIMIT :limit::bigint
    )
    UNION ALL
    (
        SELECT s.*
        FROM sessions AS s
        WHERE
            s.status = 'archived'
            AND s.status <> ''
            AND 'archived' = any(:statuses::text[])
            AND s.parent_id = :parent_id::text
            AND (:user_id::text IS NULL OR s.user_id = :user_id::text)
            AND (s.listed_at, s.session_id) < (:place_before::timestamptz, :id_before::text)
        ORDER BY s.listed_at DESC, s.session_id DESC
        LIMIT :limit::bigint
    )
    UNION ALL
    (
        SELECT s.*
        FROM sessions AS s
        WHERE
            s.status = 'trashed'
            AND s.status <> ''
            AND 'trashed' = any(:statuses::text[])
            AND s.parent_id = :parent_id::text
            AND (:user_id::text IS NULL OR s.user_id = :user_id::text)
            AND (s.listed_at, s.session_id) < (:place_before::timestamptz, :id_before::text)
        ORDER BY s.listed_at DESC, s.session_id DESC
        LIMIT :limit::bigint
    )
) AS s
ORDER BY s.listed_at DESC, s.session_id DESC
LIMIT :limit::bigint;
