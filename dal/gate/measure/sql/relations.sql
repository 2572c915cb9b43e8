-- name: relations()
-- Return the counters of all tables and indexes in the first schema of the search_path, including the work of
--   foreign key triggers.
-- Buffers: shared buffers, hit or read; those of a table include its TOAST.
-- Rows read: rows returned by sequential scans, and entries returned by index scans.
SELECT
    t.relname AS relation,
    (
        t.heap_blks_read + t.heap_blks_hit + coalesce(t.toast_blks_read + t.toast_blks_hit, 0)
        + coalesce(t.tidx_blks_read + t.tidx_blks_hit, 0)
    )::bigint AS buffers,
    s.seq_tup_read AS rows_read,
    (s.n_tup_ins + s.n_tup_upd + s.n_tup_del) AS rows_written,
    s.n_tup_upd AS updates,
    s.n_tup_hot_upd AS hot_updates
FROM pg_statio_user_tables AS t
INNER JOIN pg_stat_user_tables AS s ON t.relid = s.relid
WHERE t.schemaname = current_schema()
UNION ALL
SELECT
    i.indexrelname AS relation,
    (i.idx_blks_read + i.idx_blks_hit)::bigint AS buffers,
    s.idx_tup_read AS rows_read,
    0 AS rows_written,
    0 AS updates,
    0 AS hot_updates
FROM pg_statio_user_indexes AS i
INNER JOIN pg_stat_user_indexes AS s ON i.indexrelid = s.indexrelid
WHERE i.schemaname = current_schema();
