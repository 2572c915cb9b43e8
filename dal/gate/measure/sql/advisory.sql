-- name: advisory()^
-- Count the advisory locks of this backend.
SELECT count(*) AS locks
FROM pg_locks AS l
WHERE l.pid = pg_backend_pid() AND l.locktype = 'advisory';
