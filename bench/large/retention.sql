-- name: middle()$
-- The time before which half of the sessions were active for the last time.
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY s.updated_at)
FROM sessions AS s
WHERE s.status IN ('active', 'paused', 'archived');

-- name: busy_sessions(idle_since)
-- The sessions that stay, and that accept messages.
SELECT s.session_id
FROM sessions AS s
WHERE s.status = 'active' AND s.updated_at >= :idle_since::timestamptz
ORDER BY s.session_id;

-- name: sizes()
-- By table: the bytes of the heap with its TOAST, those of the indexes, and the dead rows.
SELECT
    s.relname,
    pg_table_size(s.relid) AS heap,
    pg_indexes_size(s.relid) AS indexes,
    s.n_dead_tup AS dead_rows
FROM pg_stat_user_tables AS s
WHERE s.schemaname = current_schema()
ORDER BY s.relname;
