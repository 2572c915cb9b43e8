-- name: delete(session_id, owner)^
-- Delete a session and all its messages.
--
-- One statement: The foreign key deletes the messages with the session's row. With `owner`, another user's
--   session behaves as if it did not exist.
-- Index: sessions_pkey, and messages_pkey for the messages.
-- Rows locked: the session's row and its messages, until the commit. Waits for a writer of the same
--   session.
-- Promises: 1 round trip; buffers O(log n) in the sessions;
--   buffers O(n) in the session's messages, at most 2 buffers each;
--   WAL O(n) in the session's messages, at most 69 WAL bytes each; at most 20 buffers; at most 5 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removals; 1 row of sessions FOR UPDATE; any rows of messages FOR UPDATE
-- Never: Seq Scan
-- Repeat: not safe: another session with this id may have been created since. Check whether one exists.
-- Returns: Deleted; no row if the session is not stored.
DELETE FROM sessions AS s
WHERE s.session_id = :session_id::text AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
RETURNING s.session_id;
