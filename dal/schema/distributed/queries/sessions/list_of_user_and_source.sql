-- name: list_of_user_and_source(user_id, source, statuses, place_before, id_before, limit)
-- List a user's sessions from a source, latest activity first, one page at a time. The first page starts
-- before ('infinity', ''); each later one before the (place, session_id) of the previous page's last row.
--
-- One statement: One query runs on all shards. Each shard sorts its sessions of the user from the source, and returns a
--   page; the node that the client is connected to merges the pages. The order is exact: a session's place is its
--   updated_at, or its listed_at if that is later, or more than a minute earlier. There is no common snapshot of the
--   shards.
-- Index: sessions_listed_of_user; it reads all sessions of the user with a wanted status.
-- Rows locked: none.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 3 each
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
    s.place,
    s.place > statement_timestamp() + interval '1 hour' AS is_ahead
FROM (
    SELECT
        o.*,
        CASE
            WHEN o.updated_at >= o.listed_at AND o.updated_at - o.listed_at <= interval '1 minute' THEN o.updated_at
            ELSE o.listed_at
        END AS place
    FROM sessions AS o
    WHERE
        o.user_id = :user_id::text
        AND o.source = :source::text
        AND o.status = any(:statuses::text[])
        AND o.listed_at <= :place_before::timestamptz
) AS s
WHERE (s.place, s.session_id) < (:place_before::timestamptz, :id_before::text)
ORDER BY s.place DESC, s.session_id DESC
LIMIT :limit::bigint;
