-- name: drop#
-- Drop the first schema of the search_path with its contents, if create.sql has marked it. It never drops another
--   schema. A missing schema is no error.
SET client_min_messages = warning;
DO $$
BEGIN
    IF obj_description(current_schema()::regnamespace, 'pg_namespace') = 'scratch of session-dal' THEN
        EXECUTE format('DROP SCHEMA %I CASCADE', current_schema());
    END IF;
END
$$;
