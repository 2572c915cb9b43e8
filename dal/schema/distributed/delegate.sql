-- Send each call of a function to the node that has the session's shard, where the whole function runs. Applying the file
-- twice is harmless. Run it after the files in functions/, in the same transaction.
--
-- A function of one session has the session's id as its first parameter, whose name ends with session_id. Other
-- functions run on the node that is connected to.

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
