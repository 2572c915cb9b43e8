-- name: delete(session_id, owner)^
-- Delete a session with all its messages.
--
-- One statement: the foreign key deletes the messages with the row.
--   With an owner, a session that is not that user's is as one that is not stored.
-- Index: sessions_pkey, and messages_pkey for the messages.
-- Rows locked: the session's row and its messages until the commit. Waits for a writer of the same session.
-- Promises: 1 round trip; buffers O(log n) in the sessions;
--   buffers O(n) in the session's messages, at most 2 buffers each;
--   WAL O(n) in the session's messages, at most 69 WAL bytes each; at most 20 buffers; at most 5 WAL records;
--   at most 10 ms of CPU; no sleeps; no temporary bytes
-- Locks: RowExclusive on sessions, messages, removals; 1 row of sessions FOR UPDATE; any rows of messages FOR UPDATE
-- Never: Seq Scan
-- Repeat: not safe: a session of the same name may have begun since; whether one is there tells what happened.
-- Returns: Deleted; no row when no such session is stored.
DELETE FROM sessions AS s
WHERE s.session_id = :session_id::text AND (:owner::text IS NULL OR s.user_id IS NOT DISTINCT FROM :owner::text)
RETURNING s.session_id;
