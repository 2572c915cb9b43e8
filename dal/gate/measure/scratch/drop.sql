-- name: drop#
-- Drop the schema that the search_path names, with all that is in it, if create.sql has marked it: no other
--   schema can ever be dropped by this file. Nothing if it is not there.
SET client_min_messages = warning;
DO $$
BEGIN
    IF obj_description(current_schema()::regnamespace, 'pg_namespace') = 'scratch of session-dal' THEN
        EXECUTE format('DROP SCHEMA %I CASCADE', current_schema());
    END IF;
END
$$;
