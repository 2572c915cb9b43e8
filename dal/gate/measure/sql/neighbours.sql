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
