-- name: purge(before, limit)^
-- Remove old tombstones of deleted sessions, and old removed messages: at most `limit` of each. Call it until
-- it removes nothing, so that no statement runs for hours.
--
-- One statement: One call of dal_purge, which runs on the node that the client is connected to. It asks all shards
--   for the oldest tombstones and removed messages. It deletes the tombstones with one statement for each shard, and
--   the removed messages with one for each session.
-- Index: sessions_listed and removed_messages_by_age, forwards; sessions_pkey.
-- Rows locked: the removed rows, until the commit. Skips removed messages that are locked, but waits for a
--   locked tombstone.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 8 each
-- Locks: RowExclusive on sessions, messages, removed_messages, changes; any rows of sessions FOR UPDATE;
--   any rows of removed_messages FOR UPDATE
-- Never: none
-- Repeat: not safe: the counts of what was removed would be lost. Call it again for the remaining rows.
-- Returns: Purged; how many rows were removed, in one row; never no row.
SELECT
    p.tombstones,
    p.removed_messages
FROM dal_purge(:before::timestamptz, :limit::bigint) AS p;
