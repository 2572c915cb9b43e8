-- name: hide_temporary()^
-- Put temporary tables last on this connection's search_path, so that they cannot hide our tables.
--
-- One statement: The server looks for a table among the temporary ones first, unless the path contains
--   pg_temp.
-- Index: none.
-- Rows locked: none.
-- Promises: 1 round trip; may match nothing; buffers O(1) in the sessions; at most 2 buffers
-- Locks: none
-- Never: none
-- Repeat: safe: a path that contains pg_temp stays as it is.
-- Returns: SearchPath; no row if the path is empty or contains pg_temp.
SELECT set_config('search_path', current_setting('search_path') || ', pg_temp', false) AS search_path
WHERE current_setting('search_path') !~ '^\s*$|\mpg_temp\M';
