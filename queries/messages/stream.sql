-- name: stream(session_id, after, limit, owner)
-- Read a session's messages that follow a sequence number, in reading order: a page of a stream.
-- From the start with -1.
--
-- One statement: a walk along the index from the number on, as messages.after. It ends where contents and metadata of
--   a MiB are on the page, or with the first message, so that pages of large messages fill nobody's memory.
--   With an owner, a session that is not that user's is as one that is not stored.
-- Index: messages_pkey, forwards; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages;
--   buffers O(n) in the page, at most n/42; at most 9 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on messages, sessions
-- Never: Seq Scan; Sort
-- Repeat: safe: it only reads.
-- Returns: Message; in reading order; no row when nothing follows, or no such session is stored.
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
