-- name: counters()^
-- Read how many rows were read and written in the scratch schema until now, by the server's own count.
--
-- Read: rows that sequential scans gave (of the tables), and entries that index scans gave (of the
--   indexes). The tables' idx_tup_fetch will not do for the latter: an index-only scan, as of count(*),
--   reads the index and fetches no row where the visibility map spares it.
-- Written: rows inserted, updated and deleted.
WITH tables AS (
    SELECT
        sum(t.seq_tup_read) AS rows_read,
        sum(t.n_tup_ins + t.n_tup_upd + t.n_tup_del) AS rows_written
    FROM pg_stat_user_tables AS t
    WHERE t.schemaname = current_schema()
),

indexes AS (
    SELECT sum(i.idx_tup_read) AS rows_read
    FROM pg_stat_user_indexes AS i
    WHERE i.schemaname = current_schema()
)

SELECT
    (t.rows_read + i.rows_read)::bigint AS rows_read,
    t.rows_written::bigint AS rows_written
FROM tables AS t
CROSS JOIN indexes AS i;
