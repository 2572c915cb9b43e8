-- name: drop_scratch#
-- Drop the scratch schema, which is alone on this connection's search_path; nothing if it is not there.
-- The name is looked at again here, so that no other schema can ever be dropped by this file.
DO $$
BEGIN
    IF starts_with(current_schema()::text, 'dal_demo_') THEN
        EXECUTE format('DROP SCHEMA %I CASCADE', current_schema());
    END IF;
END
$$;
