-- name: create#
-- Create the first schema of the search_path, and mark it so that drop.sql may drop it.
DO $$
DECLARE
    name constant text := (parse_ident(current_setting('search_path'), false))[1];
BEGIN
    EXECUTE format('CREATE SCHEMA %I', name);
    EXECUTE format('COMMENT ON SCHEMA %I IS %L', name, 'scratch of session-dal');
END
$$;

-- name: create_runner#
-- Create the function in which statements are measured, including deferred triggers.
CREATE FUNCTION dal_run(text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE $1;
    SET CONSTRAINTS ALL IMMEDIATE;
END
$$;
