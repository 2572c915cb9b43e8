-- name: relist(owner)
-- Move sessions whose place in lists is in the future to the present time.
--
-- One statement: One call of dal_relist, which runs on the node that the client is connected to.
-- Index: sessions_listed, backwards; sessions_pkey.
-- Rows locked: at most a thousand of those sessions of each status, until the commit. Waits for nobody: it
--   skips rows that are locked, which a later list moves.
-- Promises: 1 round trip
-- Remote commands: O(shards), at most 8 each
-- Locks: RowExclusive on sessions; any rows of sessions FOR NO KEY UPDATE
-- Never: none
-- Repeat: safe: their places are no longer in the future.
-- Returns: Relisted; no row if no place was in the future.
SELECT r.session_id
FROM dal_relist(:owner::text, '{active,paused,archived}', 1000) AS r;
