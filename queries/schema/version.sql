-- name: version()^
-- Read the version of the schema on the search_path, and the oldest version whose releases can use it.
--
-- One statement: One row of a table that has one row per version. Version 1 had no column usable_from; it
--   must be readable too, so that the error can say what to run.
-- Index: dal_schema_pkey, backwards.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(1) in the sessions; at most 3 buffers; at most 10 ms of CPU; no sleeps;
--   no temporary bytes
-- Locks: AccessShare on dal_schema
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: SchemaVersion; no row if the schema was never applied completely.
SELECT
    s.version,
    coalesce((to_jsonb(s) ->> 'usable_from')::integer, s.version) AS usable_from
FROM dal_schema AS s
ORDER BY s.version DESC
LIMIT 1;
