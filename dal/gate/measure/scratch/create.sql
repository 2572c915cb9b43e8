-- name: create#
-- Make the first schema that the search_path names, and mark it as one that may be dropped.
DO $$
DECLARE
    name constant text := (parse_ident(current_setting('search_path'), false))[1];
BEGIN
    EXECUTE format('CREATE SCHEMA %I', name);
    EXECUTE format('COMMENT ON SCHEMA %I IS %L', name, 'scratch of session-dal');
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
