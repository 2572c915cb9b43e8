-- name: delete_range(session_id, first, last, patience)^
-- Delete the messages of a session with the numbers from `first` to `last`. It is a step in the deletion of the
-- session, which sessions.delete_idle or sessions.erase_user completes in the same transaction.
--
-- One statement: A session with a million messages is deleted in many short statements of one transaction, so
--   that no statement misses the store's timeout, and other sessions' appends wait less. Until the commit,
--   everyone else still sees the whole session, and can append to it. Then it is not idle, and delete_idle
--   deletes nothing. `patience` is a lock_timeout for the transaction, or null. The numbers are compared in subqueries:
--   with statistics from before a bulk load, the planner would expect that all messages are in the range, and
--   take any index that begins with session_id.
-- Index: messages_pkey, forwards.
-- Rows locked: the deleted messages, until the commit.
-- Promises: 1 round trip; buffers O(log n) in the session's messages;
--   buffers O(n) in the removed messages, at most 3 buffers each;
--   WAL O(n) in the removed messages, at most 69 WAL bytes each; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Locks: RowExclusive on messages; any rows of messages FOR UPDATE; waits for rows of messages
-- Never: Seq Scan
-- Repeat: safe: the repeated statement deletes what is left.
-- Returns: DeletedRange; the number of deleted messages, in one row; never no row.
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
