-- name: delete(session_id)^
-- Delete a session with all its messages.
--
-- One statement: the foreign key deletes the messages with the row.
-- Index: sessions_pkey, and messages_pkey for the messages.
-- Locks: the session's row and its messages until the commit. Waits for a writer of the same session.
-- Returns: Deleted; no row when no such session is stored.
DELETE FROM sessions AS s
WHERE s.session_id = :session_id::text
RETURNING s.session_id;
