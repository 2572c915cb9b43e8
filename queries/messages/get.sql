-- name: get(session_id, message_id, owner)^
-- Read one message by its id.
--
-- One statement: One index lookup. With `owner`, another user's session behaves as if it did not exist.
-- Index: messages_message_id_key; sessions_pkey for the owner.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages;
--   at most 8 buffers; at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: AccessShare on messages, sessions
-- Never: Seq Scan; Sort
-- Repeat: safe: it only reads.
-- Returns: Message; no row if the session does not contain it.
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
    m.session_id = :session_id::text
    AND m.message_id = :message_id::text
    AND (
        (SELECT :owner::text) IS NULL
        OR (SELECT :owner::text) = (
            SELECT o.user_id
            FROM sessions AS o
            WHERE o.session_id = :session_id::text
        )
    );
