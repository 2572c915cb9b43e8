-- name: stream(session_id, after, limit, owner)
-- Read a page of a stream: messages after a sequence number, in reading order. -1 reads from the start.
--
-- One statement: A forward index scan, as messages.after. A page ends after one MiB of content and
--   metadata, but has at least one message, so that large messages do not fill the memory. With `owner`,
--   another user's session behaves as if it did not exist.
-- Index: messages_pkey, forwards; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages;
--   buffers O(n) in the page, at most n/42; at most 9 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on messages, sessions
-- Never: Seq Scan; Sort
-- Repeat: safe: it only reads.
-- Returns: Message; in reading order; no row after the last message, or if the session is not stored.
SELECT
    m.session_id,
    m.sequence,
    m.message_id,
    m.role,
    m.agent_id,
    m.content,
    m.metadata,
    m.created_at
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
        sum(octet_length(m.content) + pg_column_size(m.metadata)) OVER (ORDER BY m.sequence ROWS UNBOUNDED PRECEDING)
        - octet_length(m.content) - pg_column_size(m.metadata) AS bytes
    FROM messages AS m
    WHERE
        m.session_id = :session_id::text
        AND m.sequence > :after::bigint
        AND (
            (SELECT :owner::text) IS NULL
            OR (SELECT :owner::text) = (
                SELECT o.user_id
                FROM sessions AS o
                WHERE o.session_id = :session_id::text
            )
        )
    ORDER BY m.sequence
    LIMIT :limit::bigint
) AS m
WHERE m.bytes < 1048576
ORDER BY m.sequence;
