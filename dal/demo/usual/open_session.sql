-- name: open_session(session_id)!
-- How the field does it, for comparison; the library never sends it. A session's row is stored as soon
-- as the session is opened, whether or not anything is ever said in it.
INSERT INTO sessions (session_id, metadata, next_sequence, message_count, created_at, updated_at)
VALUES (:session_id::text, '{}', 0, 0, statement_timestamp(), statement_timestamp());
