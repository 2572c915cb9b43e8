-- name: get(session_id, message_id)^
-- Read one message by its id.
--
-- One statement: one descent of the index.
-- Index: messages_message_id_key.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(log n) in the session's messages; rows O(1) in the session's messages
-- Locks: AccessShare on messages
-- Never: Seq Scan; Sort
-- Repeat: safe: it only reads.
-- Returns: Message; no row when the session holds no such message.
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
WHERE m.session_id = :session_id::text AND m.message_id = :message_id::text;
