-- Drop the objects that only releases made for version 5 and before need: a table and a trigger.
--
-- Run: each statement on its own, outside a transaction, when no such release runs any more, and you will not go back
--   to one. It can be run again.
-- Locks: removals and sessions (reads and writes), until the commit, which follows at once.
--
--     psql --set ON_ERROR_STOP=1 --file 0007.sql
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '250ms', true);
    -- First, so that sessions is not locked yet while this waits for removals.
    DROP TABLE IF EXISTS removals;
    DROP TRIGGER IF EXISTS sessions_stay_deleted ON sessions;
    DROP FUNCTION IF EXISTS sessions_stay_deleted();
    UPDATE dal_schema SET usable_from = 7 WHERE version >= 7 AND usable_from < 7;
END
$$;
