-- name: drop#
-- Drop the schema that the search_path names, with all that is in it.
SET client_min_messages = warning;
DO $$
BEGIN
    EXECUTE 'DROP SCHEMA IF EXISTS ' || current_setting('search_path') || ' CASCADE';
END
$$;
