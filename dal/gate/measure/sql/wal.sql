-- name: wal()^
-- Return the WAL of the whole server, since PostgreSQL before 18 does not count it per backend. It includes other
--   connections, so take the lowest of several runs.
SELECT
    w.wal_records,
    w.wal_bytes
FROM pg_stat_wal AS w;
