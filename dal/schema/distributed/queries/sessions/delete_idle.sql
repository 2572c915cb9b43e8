-- name: delete_idle(idle_since, statuses, passed_over, limit, message_limit, patience)
-- Delete sessions that have been idle since a given time, with their messages: the longest idle first, at most
-- `limit` sessions, and at most `message_limit` messages (null: no limit). Each deleted session leaves a
-- tombstone. Call it until it returns no row, so that no statement runs for long. If it returns a session that
-- it did not delete, skip that one by increasing `passed_over`; if its row has a next_sequence, you can instead
-- delete its messages first, with messages.delete_range in the same transaction.
--
-- One statement: One call of dal_delete_idle, which runs on the node that the client is connected to. It asks all
--   shards for the longest idle sessions, then locks, checks and deletes them one by one. A session that is being
--   written to is skipped. The scan ends at the first session that exceeds `message_limit`. If `patience` is not
--   null and a message of a session is locked, the statement fails at once with 55P03 and deletes nothing. It
--   cannot wait for that long, since Citus sends no lock_timeout to workers.
-- Index: sessions_listed, forwards; sessions_pkey, and messages_pkey for the messages; the insert of
--   tombstones writes to sessions_pkey and sessions_listed.
-- Rows locked: the deleted rows, and the sessions whose listed_at it corrects, until the commit. It waits for
--   no row of sessions, so it cannot deadlock with an append.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 12 each; 4 for each of the deleted sessions
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; any rows of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE; waits for rows of messages, removed_messages, changes
-- Never: none
-- Repeat: not safe: the ids of the deleted sessions would be lost. Call it again for the remaining ones.
-- Returns: IdleSession; no row if no session has been idle for that long. Otherwise the deleted
--   sessions; if none could be deleted, the first one, with its next_sequence if it has more than `message_limit`
--   messages.
SELECT
    d.session_id,
    d.is_deleted,
    d.next_sequence
FROM dal_delete_idle(
    NULL,
    :idle_since::timestamptz,
    :statuses::text[],
    :passed_over::bigint,
    :limit::bigint,
    :message_limit::bigint,
    :patience::text
) AS d;
