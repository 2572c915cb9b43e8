-- name: hold()^
-- Take the transaction's snapshot, as any query does, and return whether the server holds it.
SELECT a.backend_xmin IS NOT NULL AS is_held
FROM pg_stat_activity AS a
WHERE a.pid = pg_backend_pid();
