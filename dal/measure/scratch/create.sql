-- name: create#
-- Make the schema that the search_path names, and mark it as one that may be dropped.
DO $$
BEGIN
    EXECUTE format('CREATE SCHEMA %s', current_setting('search_path'));
    EXECUTE format('COMMENT ON SCHEMA %s IS %L', current_setting('search_path'), 'scratch of session-dal');
END
$$;

-- name: runner#
-- Make the function inside which statements are measured, with their triggers; those too that wait for the commit.
CREATE FUNCTION dal_run(text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE $1;
    SET CONSTRAINTS ALL IMMEDIATE;
END
$$;
