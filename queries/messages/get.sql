-- name: get(session_id, message_id)^
-- Read one message by its id.
--
-- One statement: one descent of the index.
-- Index: messages_message_id_key.
-- Locks: none.
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
