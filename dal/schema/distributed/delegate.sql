-- Register functions with Citus, which then runs each call on the node that has the session's shard. Applying the file
-- twice is harmless. Run it after the files in functions/, in the same transaction.
--
-- These are the functions whose first parameter is a session's id, and has a name that ends with session_id. The others
-- run on the node that the client is connected to.

DO $$
DECLARE
    ours record;
BEGIN
    FOR ours IN
        SELECT p.oid::regprocedure AS function
        FROM pg_proc AS p
        WHERE
            p.pronamespace = current_schema()::regnamespace
            AND p.proname LIKE 'dal\_%'
            AND p.proargnames[1] LIKE '%session\_id'
            AND p.proargtypes[0] = 'text'::regtype
        ORDER BY p.oid
    LOOP
        PERFORM create_distributed_function(ours.function, '$1', colocate_with := 'sessions');
    END LOOP;
    -- As it was before tables.sql.
    PERFORM set_config('search_path', current_setting('dal.search_path'), true);
END
$$;
