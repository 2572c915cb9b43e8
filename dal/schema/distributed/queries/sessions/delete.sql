-- name: delete(session_id, owner)^
-- Delete a session and all its messages. A tombstone is left, so that its id is not used again by accident.
--
-- One statement: One call of dal_delete, which runs on the worker that has the session's shard.
-- Index: sessions_pkey, and messages_pkey for the messages; the insert writes to sessions_pkey and
--   sessions_listed.
-- Rows locked: the session's row and its messages, until the commit. Waits for a writer of the same
--   session.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; 1 row of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE
-- Never: none
-- Repeat: safe: the repeated statement meets the tombstone, and does nothing. Only create(again=True)
--   begins another session with this id; if somebody did that in between, a repeated delete deletes that
--   session, as if it had been sent later.
-- Returns: Deleted; no row if the session is not stored, or was deleted before.
SELECT d.session_id
FROM dal_delete(:session_id::text, :owner::text) AS d;
