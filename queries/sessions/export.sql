-- name: export(listed_after, id_after, source, since, until, limit)
-- Read sessions as lines of JSON, ordered by listed_at, one page at a time. The first page starts after
-- ('-infinity', ''); each later one after the (listed_at, session_id) of the previous page's last row.
--
-- One statement: One index scan for each status, which stops after `limit` sessions, and skips those of another
--   source, or created before `since`, or at `until` or later. A page ends with the line that reaches one MiB.
--   A source, since or until of null matches everything; this is written as CASE, since the planner would
--   expect an OR to match hardly any row. The order holds only within one snapshot, so an export reads all its
--   pages from the same one.
-- Index: sessions_listed, forwards.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(n log n) in the page, at most n/2;
--   at most 74 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on sessions
-- Never: Seq Scan on sessions
-- Repeat: safe: it only reads.
-- Returns: ExportedSession; ordered by listed_at; no row after the last session.
WITH candidate AS (
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
    FROM unnest(ARRAY['active', 'paused', 'archived', 'trashed']) AS wanted (status)
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
            s.trashed_from,
            s.listed_at
        FROM sessions AS s
        WHERE
            s.status = wanted.status
            AND s.status <> ''
            AND (s.listed_at, s.session_id) > (:listed_after::timestamptz, :id_after::text)
            AND CASE WHEN :source::text IS NULL THEN true ELSE s.source = :source::text END
            AND CASE WHEN :since::timestamptz IS NULL THEN true ELSE s.created_at >= :since::timestamptz END
            AND CASE WHEN :until::timestamptz IS NULL THEN true ELSE s.created_at < :until::timestamptz END
        ORDER BY s.listed_at, s.session_id
        LIMIT :limit::bigint
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
