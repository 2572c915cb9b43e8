-- name: disable_autovacuum#
-- Disable autovacuum for the tables in the first schema of the search_path, since its reads would be counted. Commit
--   synchronously: VACUUM marks a page as visible only if the commits of its rows have reached the disk.
SET synchronous_commit = on;
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)', name);
    END LOOP;
END
$$;
