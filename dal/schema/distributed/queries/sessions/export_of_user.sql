-- name: export_of_user(user_id, listed_after, id_after, source, since, until, limit)
-- Read a user's sessions as lines of JSON, ordered by listed_at, one page at a time. The first page starts
-- after ('-infinity', ''); each later one after the (listed_at, session_id) of the previous page's last
-- row.
--
-- One statement: One query for each status runs on all shards. Each shard scans its index and stops when the page is
--   full; the node that the client is connected to merges the rows, and ends the page at one MiB. If source, since
--   or until is null, it matches everything. There is no common snapshot of the shards: an export has each session
--   as it was at one moment, but the moments differ.
-- Index: sessions_listed_of_user, forwards.
-- Rows locked: none.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 8 each
-- Locks: AccessShare on sessions
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: ExportedSession; ordered by listed_at; no row after the last session.
WITH candidate AS MATERIALIZED (
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
        s.trashed_from,
        s.listed_at
    FROM (
        (
            SELECT s.*
            FROM sessions AS s
            WHERE
                s.status = 'active'
                AND s.status <> ''
                AND s.user_id = :user_id::text
                AND (s.listed_at, s.session_id) > (:listed_after::timestamptz, :id_after::text)
                AND (:source::text IS NULL OR s.source = :source::text)
                AND (:since::timestamptz IS NULL OR s.created_at >= :since::timestamptz)
                AND (:until::timestamptz IS NULL OR s.created_at < :until::timestamptz)
            ORDER BY s.listed_at, s.session_id
            LIMIT :limit::bigint
        )
        UNION ALL
        (
            SELECT s.*
            FROM sessions AS s
            WHERE
                s.status = 'paused'
                AND s.status <> ''
                AND s.user_id = :user_id::text
                AND (s.listed_at, s.session_id) > (:listed_after::timestamptz, :id_after::text)
                AND (:source::text IS NULL OR s.source = :source::text)
                AND (:since::timestamptz IS NULL OR s.created_at >= :since::timestamptz)
                AND (:until::timestamptz IS NULL OR s.created_at < :until::timestamptz)
            ORDER BY s.listed_at, s.session_id
            LIMIT :limit::bigint
        )
        UNION ALL
        (
            SELECT s.*
            FROM sessions AS s
            WHERE
                s.status = 'archived'
                AND s.status <> ''
                AND s.user_id = :user_id::text
                AND (s.listed_at, s.session_id) > (:listed_after::timestamptz, :id_after::text)
                AND (:source::text IS NULL OR s.source = :source::text)
                AND (:since::timestamptz IS NULL OR s.created_at >= :since::timestamptz)
                AND (:until::timestamptz IS NULL OR s.created_at < :until::timestamptz)
            ORDER BY s.listed_at, s.session_id
            LIMIT :limit::bigint
        )
        UNION ALL
        (
            SELECT s.*
            FROM sessions AS s
            WHERE
                s.status = 'trashed'
                AND s.status <> ''
                AND s.user_id = :user_id::text
                AND (s.listed_at, s.session_id) > (:listed_after::timestamptz, :id_after::text)
                AND (:source::text IS NULL OR s.source = :source::text)
                AND (:since::timestamptz IS NULL OR s.created_at >= :since::timestamptz)
                AND (:until::timestamptz IS NULL OR s.created_at < :until::timestamptz)
            ORDER BY s.listed_at, s.session_id
            LIMIT :limit::bigint
        )
    ) AS s
    ORDER BY s.listed_at, s.session_id
    LIMIT :limit::bigint
)

SELECT
    e.session_id,
    e.listed_at,
    e.messages,
    e.line
FROM (
    SELECT
        c.session_id,
        c.listed_at,
        c.message_count AS messages,
        written.line,
        sum(octet_length(written.line)) OVER (ORDER BY c.listed_at, c.session_id) - octet_length(written.line) AS bytes
    FROM candidate AS c
    CROSS JOIN LATERAL (
        SELECT
            c.session_id,
            c.source,
            c.user_id,
            c.parent_id,
            c.status,
            c.next_sequence,
            c.message_count,
            c.agent_ids,
            c.metadata,
            to_char(c.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at,
            to_char(c.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at,
            to_char(c.archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS archived_at,
            c.revision,
            c.fork_point,
            c.trashed_from
    ) AS head
    CROSS JOIN LATERAL (
        SELECT concat('{"session":', row_to_json(head)::text, E'}\n') AS line
    ) AS written
) AS e
WHERE e.bytes < 1048576
ORDER BY e.listed_at, e.session_id;
