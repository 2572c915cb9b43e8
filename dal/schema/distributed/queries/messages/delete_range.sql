-- name: delete_range(session_id, first, last, patience)^
-- Delete the messages of a session with the numbers from `first` to `last`. This is one step of deleting a long
-- session; sessions.delete_idle or sessions.erase_user completes it in the same transaction.
--
-- One statement: One call of dal_delete_range. A session with a million messages is deleted by many short
--   statements in one transaction, so that none exceeds the store's timeout, and other sessions' appends wait
--   less. If `patience` is not null and one of the messages is locked, it fails at once with 55P03.
-- Index: messages_pkey, forwards.
-- Rows locked: the deleted messages, until the commit.
-- Promises: 1 round trip
-- Remote commands: 1
-- Locks: RowExclusive on messages; any rows of messages FOR UPDATE; waits for rows of messages
-- Never: none
-- Repeat: safe: the repeated statement deletes what is left.
-- Returns: DeletedRange; one row, with the number of deleted messages; never no row.
SELECT d.messages
FROM dal_delete_range(:session_id::text, :first::bigint, :last::bigint, :patience::text) AS d;
