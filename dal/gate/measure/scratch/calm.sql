-- name: calm#
-- Let autovacuum pass the tables of the first schema of the search_path: what it reads would be in their
--   counters. And let no commit of this connection wait for the disk.
SET synchronous_commit = off;
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
