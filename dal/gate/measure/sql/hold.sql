-- name: hold()^
-- Take the transaction's snapshot, as any query does, and tell whether the server holds it now.
SELECT a.backend_xmin IS NOT NULL AS is_held
FROM pg_stat_activity AS a
WHERE a.pid = pg_backend_pid();
