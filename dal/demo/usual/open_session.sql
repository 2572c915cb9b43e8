-- name: open_session(session_id)!
-- The usual way, for comparison; the library never sends it. Store the session's row when the session is opened,
-- even if it never gets a message.
INSERT INTO sessions (session_id, metadata, next_sequence, message_count, created_at, updated_at)
VALUES (:session_id::text, '{}', 0, 0, statement_timestamp(), statement_timestamp());
