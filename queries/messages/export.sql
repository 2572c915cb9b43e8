-- name: export(session_ids, after, limit, owner)
-- Read a page of an export: messages of several sessions, one session after the other, in reading order.
-- `after` is a sequence number in the first session, or -1 for its start; `limit` is the maximum per
-- session.
--
-- One statement: One index scan per session, as messages.after. A page ends after one MiB of content and
--   metadata, but has at least one message, so that large messages do not fill the memory; `is_last` is
--   then false for the last row. The array and the limit are passed through subqueries. So the planner
--   does not count the array's elements and replan each call (tests/one_server/test_cost.py checks it), and
--   with outdated statistics it does not sort the rest of a session instead of reading a page of it
--   (tests/one_server/test_statistics.py). Python formats each row as JSON while the server reads the next
--   page. With `owner`, a session of another user has no messages.
-- Index: messages_pkey, forwards; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages;
--   buffers O(n) in the page, at most n/42; buffers O(n) in the given sessions, at most 22 buffers each;
--   at most 9 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on messages, sessions
-- Never: Seq Scan
-- Repeat: safe: it only reads.
-- Returns: ExportedMessage; in the order of the given sessions; no row after the last message.
SELECT
    page.session_id,
    page.sequence,
    page.message_id,
    page.role,
    page.agent_id,
    page.content,
    page.metadata::text AS json_metadata,
    to_char(page.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS iso_created_at,
    page.is_last
FROM (
    SELECT
        m.place,
        m.session_id,
        m.sequence,
        m.message_id,
        m.role,
        m.agent_id,
        m.content,
        m.metadata,
        m.created_at,
        lead(m.sequence) OVER in_order IS NULL AS is_last,
        sum(octet_length(m.content) + pg_column_size(m.metadata)) OVER in_order
        - octet_length(m.content) - pg_column_size(m.metadata) AS bytes
    FROM (
        SELECT
            wanted.place,
            found.session_id,
            found.sequence,
            found.message_id,
            found.role,
            found.agent_id,
            found.content,
            found.metadata,
            found.created_at
        FROM unnest((SELECT :session_ids::text[])) WITH ORDINALITY AS wanted (session_id, place)
        CROSS JOIN LATERAL (
            SELECT
                m.session_id,
                m.sequence,
                m.message_id,
                m.role,
                m.agent_id,
                m.content,
                m.metadata,
                m.created_at
            FROM messages AS m
            WHERE
                m.session_id = wanted.session_id
                AND m.sequence > CASE wanted.place WHEN 1 THEN :after::bigint ELSE -1 END
                AND (
                    (SELECT :owner::text) IS NULL
                    OR (SELECT :owner::text) = (
                        SELECT o.user_id
                        FROM sessions AS o
                        WHERE o.session_id = wanted.session_id
                    )
                )
            ORDER BY m.sequence
            LIMIT (SELECT :limit::bigint)
        ) AS found
    ) AS m
    WINDOW in_order AS (ORDER BY m.place, m.sequence ROWS UNBOUNDED PRECEDING)
) AS page
WHERE page.bytes < 1048576
ORDER BY page.place, page.sequence;
