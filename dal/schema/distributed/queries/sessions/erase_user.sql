-- name: erase_user(user_id, limit, message_limit)^
-- Delete at most `limit` sessions of a user, with at most `message_limit` messages (null: no limit), and with
-- everything else that belongs to these sessions. Return the counts of what was deleted. Call it until it finds
-- nothing.
--
-- One statement: One call of dal_erase_user, which runs on the node that the client is connected to. It asks all
--   shards for sessions of the user, then locks, counts and deletes them one by one.
-- Index: sessions_listed_of_user, sessions_listed_of_parent, removed_messages_pkey; sessions_pkey, and
--   messages_pkey for the messages; the insert of tombstones writes to sessions_pkey and sessions_listed.
-- Rows locked: the deleted rows, until the commit. Waits for writers of these sessions.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 6 each; 4 for each of the deleted sessions
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; any rows of sessions FOR UPDATE;
--   any rows of messages FOR UPDATE; waits for rows of sessions, messages, removed_messages, changes
-- Never: none
-- Repeat: not safe: the counts of what was deleted would be lost. Call it again for the remaining sessions.
-- Returns: ErasureStep; one row, never no row; its counts are zero if the user has no sessions. `found` is the
--   number of the user's sessions, at most `limit`. `first_id` is the first of them; next_sequence is set if it
--   has more than `message_limit` messages. `forks` has the ids of other users' forks of the deleted sessions,
--   and of forks of those.
SELECT
    e.candidates AS found,
    e.sessions,
    e.messages,
    e.removed_messages,
    e.forks,
    e.first_id,
    e.next_sequence
FROM dal_erase_user(:user_id::text, :limit::bigint, :message_limit::bigint) AS e;
