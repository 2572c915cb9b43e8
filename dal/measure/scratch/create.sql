-- name: create#
-- Make the schema that the search_path names.
DO $$
BEGIN
    EXECUTE 'CREATE SCHEMA ' || current_setting('search_path');
END
$$;
