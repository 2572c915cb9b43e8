-- name: advisory()^
-- Count the advisory locks that this backend holds.
SELECT count(*) AS locks
FROM pg_locks AS l
WHERE l.pid = pg_backend_pid() AND l.locktype = 'advisory';
