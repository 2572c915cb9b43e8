-- name: wal()^
-- Return the WAL of the whole server. Before PostgreSQL 18 there is no counter per backend, so it includes other
--   connections: take the least of several runs.
SELECT
    w.wal_records,
    w.wal_bytes
FROM pg_stat_wal AS w;
