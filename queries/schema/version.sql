-- name: version()^
-- Read which version of the schema the search_path leads to.
--
-- One statement: one row of a table that has one for each version.
-- Index: dal_schema_pkey, backwards.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(1) in the sessions
-- Locks: AccessShare on dal_schema
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: SchemaVersion; no row when a schema was never applied whole.
SELECT s.version
FROM dal_schema AS s
ORDER BY s.version DESC
LIMIT 1;
