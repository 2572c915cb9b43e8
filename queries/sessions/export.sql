-- name: export(updated_after, id_after, source, since, until, sessions, limit)
-- Read sessions as JSON text, each followed by its messages, in the order in which something last happened in
-- them: a page. The first page comes after ('-infinity', ''), the next after the (updated_at, session_id) of the
-- last row of this one.
--
-- One statement: for each status one walk along the index, which stops after so many sessions; those of another
--   source, or created at another time, are passed over. As many sessions as hold the limit's messages are on the page,
--   by their own counters, and as make a MiB, so that it is no larger where they are long. One that holds more than
--   either gives its own line alone, and messages.export the rest. Null for source, since and until lets all through,
--   written as a CASE, of which the planner does not expect that it lets hardly any through.
--   The order is no promise across snapshots: an export reads all its pages in one.
-- Index: sessions_by_recency, forwards; messages_pkey for the messages.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the sessions; buffers O(n log n) in the page
-- Locks: AccessShare on sessions, messages
-- Never: Seq Scan on sessions; Seq Scan on messages
-- Repeat: safe: it only reads.
-- Returns: ExportedSession, in the order of the pages; no row when there are no more.
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
        s.archived_at
    FROM unnest(ARRAY['active', 'paused', 'archived']) AS wanted (status)
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
            AND (s.active_hour, s.updated_at, s.session_id) > (
                date_bin('1 hour', :updated_after::timestamptz, '2000-01-01 00:00+00'),
                :updated_after::timestamptz,
                :id_after::text
            )
            AND CASE WHEN :source::text IS NULL THEN true ELSE s.source = :source::text END
            AND CASE WHEN :since::timestamptz IS NULL THEN true ELSE s.created_at >= :since::timestamptz END
            AND CASE WHEN :until::timestamptz IS NULL THEN true ELSE s.created_at < :until::timestamptz END
        ORDER BY s.active_hour, s.updated_at, s.session_id
        LIMIT :sessions::bigint
    ) AS s
    ORDER BY s.updated_at, s.session_id
    LIMIT :sessions::bigint
),

page AS (
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
        c.created_at,
        c.updated_at,
        c.archived_at,
        sum(c.message_count + 1) OVER (ORDER BY c.updated_at, c.session_id) - c.message_count AS place
    FROM candidate AS c
),

exported AS (
    SELECT
        p.session_id,
        p.updated_at,
        body.messages,
        body.messages = p.message_count AS is_whole,
        convert_to(
            concat(
                '{"session":', row_to_json(head)::text, E'}\n',
                CASE WHEN body.messages = p.message_count AND body.messages > 0
                    THEN concat('{"message":', body.lines, E'}\n')
                END
            ),
            'UTF8'
        ) AS lines
    FROM page AS p
    CROSS JOIN LATERAL (
        SELECT
            p.session_id,
            p.source,
            p.user_id,
            p.parent_id,
            p.status,
            p.next_sequence,
            p.message_count,
            p.agent_ids,
            p.metadata,
            to_char(p.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at,
            to_char(p.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS updated_at,
            to_char(p.archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS archived_at
    ) AS head
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS messages,
            string_agg(row_to_json(line)::text, E'}\n{"message":' ORDER BY line.sequence) AS lines
        FROM (
            SELECT
                m.session_id,
                m.sequence,
                m.message_id,
                m.role,
                m.agent_id,
                m.content,
                m.metadata,
                to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at
            FROM (
                SELECT
                    m.session_id,
                    m.sequence,
                    m.message_id,
                    m.role,
                    m.agent_id,
                    m.content,
                    m.metadata,
                    m.created_at,
                    sum(octet_length(m.content) + pg_column_size(m.metadata))
                    OVER (ORDER BY m.sequence ROWS UNBOUNDED PRECEDING) AS bytes
                FROM messages AS m
                WHERE m.session_id = p.session_id AND p.message_count <= :limit::bigint
                ORDER BY m.sequence
                LIMIT :limit::bigint
            ) AS m
            WHERE m.bytes < 1048576
            ORDER BY m.sequence
        ) AS line
    ) AS body
    WHERE p.place <= :limit::bigint
)

SELECT
    e.session_id,
    e.updated_at,
    e.messages,
    e.is_whole,
    e.lines
FROM (
    SELECT
        e.session_id,
        e.updated_at,
        e.messages,
        e.is_whole,
        e.lines,
        sum(octet_length(e.lines)) OVER (ORDER BY e.updated_at, e.session_id) - octet_length(e.lines) AS bytes
    FROM exported AS e
) AS e
WHERE e.bytes < 1048576
ORDER BY e.updated_at, e.session_id;
