-- name: try_lock(key)^
-- Lock a key for this session alone, if it is free.
SELECT pg_try_advisory_lock(:key::bigint) AS is_locked;

-- name: try_lock_shared(key)^
-- Lock a key together with other sessions, unless one has it alone.
SELECT pg_try_advisory_lock_shared(:key::bigint) AS is_locked;

-- name: unlock(key)^
-- Release a key.
SELECT pg_advisory_unlock(:key::bigint) AS is_unlocked;

-- name: unlock_shared(key)^
-- Release a shared key.
SELECT pg_advisory_unlock_shared(:key::bigint) AS is_unlocked;

-- name: others(key)^
-- Count the other connections to this database that hold a snapshot, or the key.
SELECT count(*) AS others
FROM pg_stat_activity AS a
WHERE
    a.datname = current_database()
    AND a.pid <> pg_backend_pid()
    AND (
        a.backend_xmin IS NOT NULL
        OR EXISTS (
            SELECT FROM pg_locks AS l
            WHERE
                l.pid = a.pid
                AND l.locktype = 'advisory'
                AND l.database = a.datid
                AND (l.classid::bigint << 32) + l.objid::bigint = :key::bigint
                AND l.granted
        )
    );
