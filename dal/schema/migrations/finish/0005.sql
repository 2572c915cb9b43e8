-- Drop the objects that only releases made for version 2 and before need: a column, its indexes and a trigger.
--
-- Run: each statement on its own, outside a transaction, when no such release runs any more, and you will not go back
--   to one. It can be run again.
-- Locks: the last statement locks sessions (reads and writes), until its commit, which follows at once.
--
--     psql --set ON_ERROR_STOP=1 --file 0005.sql
DROP INDEX CONCURRENTLY IF EXISTS sessions_by_recency;

DROP INDEX CONCURRENTLY IF EXISTS sessions_of_user_by_recency;

DROP INDEX CONCURRENTLY IF EXISTS sessions_of_source_by_recency;

DO $$
BEGIN
    PERFORM set_config('lock_timeout', '250ms', true);
    DROP TRIGGER IF EXISTS sessions_keep_listed_at ON sessions;
    DROP FUNCTION IF EXISTS sessions_keep_listed_at();
    ALTER TABLE sessions DROP COLUMN IF EXISTS active_hour;
    UPDATE dal_schema SET usable_from = 5 WHERE version >= 5 AND usable_from < 5;
END
$$;
