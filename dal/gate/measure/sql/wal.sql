-- name: wal()^
-- Read how much WAL was written until now, by the whole server: before PostgreSQL 18 nothing counts a
--   backend's own. What neighbours write is in it, so take the least of several.
SELECT
    w.wal_records,
    w.wal_bytes
FROM pg_stat_wal AS w;
