-- name: create#
-- Make the schema that the search_path names, and mark it as one that may be dropped.
DO $$
BEGIN
    EXECUTE format('CREATE SCHEMA %s', current_setting('search_path'));
    EXECUTE format('COMMENT ON SCHEMA %s IS %L', current_setting('search_path'), 'scratch of session-dal');
END
$$;
