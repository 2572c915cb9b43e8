-- name: wal_of_backend()^
-- Return the WAL of this backend. PostgreSQL 18 and later.
SELECT
    w.wal_records,
    w.wal_bytes
FROM pg_stat_get_backend_wal(pg_backend_pid()) AS w;
