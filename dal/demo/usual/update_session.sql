-- name: update_session(session_id, messages)!
-- The usual way, for comparison; the library never sends it. The fourth statement of an append.
UPDATE sessions SET
    next_sequence = :messages::bigint,
    message_count = :messages::bigint,
    updated_at = statement_timestamp()
WHERE session_id = :session_id::text;
