-- name: delete_range(session_id, first, last, patience)^
-- Delete the messages of a session with the numbers from `first` to `last`. This is one step of deleting a long
-- session; sessions.delete_idle or sessions.erase_user completes it in the same transaction.
--
-- One statement: A session with a million messages is deleted by many short statements in one transaction, so
--   that none exceeds the store's timeout, and other sessions' appends wait less. Until the commit, everyone
--   else still sees the whole session, and can append to it. After an append, delete_idle deletes nothing,
--   since the session is no longer idle, and the store rolls back; erase_user deletes the new message, too.
--   `patience` is a lock_timeout for the rest of the transaction, or null. The numbers are compared in
--   subqueries: otherwise, with statistics from before a bulk load, the planner would expect all messages to be
--   in the range, and take any index that begins with session_id.
-- Index: messages_pkey, forwards.
-- Rows locked: the deleted messages, until the commit.
-- Promises: 1 round trip; buffers O(log n) in the session's messages;
--   buffers O(n) in the removed messages, at most 3 buffers each;
--   WAL O(n) in the removed messages, at most 69 WAL bytes each; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Locks: RowExclusive on messages; any rows of messages FOR UPDATE; waits for rows of messages
-- Never: Seq Scan
-- Repeat: safe: the repeated statement deletes what is left.
-- Returns: DeletedRange; one row, with the number of deleted messages; never no row.
WITH patience AS (
    SELECT CASE WHEN :patience::text IS NOT NULL THEN set_config('lock_timeout', :patience::text, true) END AS set_to
),

deleted AS (
    DELETE FROM messages AS m
    USING patience
    WHERE
        m.session_id = :session_id::text
        AND m.sequence >= (SELECT :first::bigint)
        AND m.sequence <= (SELECT :last::bigint)
    RETURNING m.sequence
)

SELECT count(*) AS messages
FROM deleted;
