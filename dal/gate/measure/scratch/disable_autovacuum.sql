-- name: disable_autovacuum#
-- Disable autovacuum for the tables in the first schema of the search_path, since its reads would be counted, and
--   synchronous commits for this connection.
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
