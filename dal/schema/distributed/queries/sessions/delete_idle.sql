-- name: delete_idle(idle_since, statuses, passed_over, limit, patience)
-- Delete sessions that have been idle since a given time, with their messages: the longest idle first, at
-- most `limit` of them. Call it until it deletes nothing, so that no statement runs for hours.
-- Each leaves a tombstone, as a session that delete deletes.
--
-- One statement: One call of dal_delete_idle, which runs on the node that the client is connected to. It asks all
--   shards for the longest idle sessions, then locks, checks and deletes them one by one. A session that is being
--   written to is skipped. If `patience` is not null and a message of a session is locked, the statement fails at
--   once with 55P03 and deletes nothing. It cannot wait for that long, since Citus sends no lock_timeout to workers.
-- Index: sessions_listed, forwards; sessions_pkey, and messages_pkey for the messages; the insert of
--   tombstones writes to sessions_pkey and sessions_listed.
-- Rows locked: the deleted rows, until the commit. Waits for no row of sessions, so it cannot deadlock with
--   an append.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 12 each; 4 for each of the deleted sessions
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; any rows of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE; waits for rows of messages, removed_messages, changes
-- Never: none
-- Repeat: not safe: the ids of the deleted sessions would be lost. Call it again for the remaining ones.
-- Returns: Deleted; no row if no session has been idle for that long.
SELECT d.session_id
FROM dal_delete_idle(
    NULL,
    :idle_since::timestamptz,
    :statuses::text[],
    :passed_over::bigint,
    :limit::bigint,
    :patience::text
) AS d;
