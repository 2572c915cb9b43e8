-- Distribute the tables of schema.sql over the nodes of a Citus cluster, by session_id. All rows of a session are in
-- shards on one node, so an operation on one session runs on that node alone. Applying the file twice is harmless. Run it
-- on the coordinator after schema.sql, in the same transaction; statistics.sql is run after that. One of:
--
--     dal schema print --distributed | psql --single-transaction --set ON_ERROR_STOP=1  # without statistics.sql
--     dal schema apply --distributed --schema agents
--
-- citus.shard_count is the number of shards: 32 unless it was set before. Tables that already hold sessions are distributed
-- only if dal.in_place was set to on. The rows are then copied to the shards. Nobody can read or write meanwhile.

DO $$
DECLARE
    is_plain constant boolean := NOT EXISTS (
        SELECT FROM pg_trigger AS g
        INNER JOIN pg_proc AS p ON g.tgfoid = p.oid
        WHERE g.tgrelid = to_regclass('sessions') AND g.tgisinternal AND p.proname = 'citus_truncate_trigger'
    );
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'citus') THEN
        RAISE EXCEPTION 'the extension Citus is not installed in database "%"', current_database()
        USING ERRCODE = 'feature_not_supported',
            HINT = 'Add citus to shared_preload_libraries on each node, run CREATE EXTENSION citus there, and add the workers '
                'with citus_add_node.';
    END IF;
    IF is_plain THEN
        IF current_setting('dal.in_place', true) = 'on' THEN
            -- While this waits for a long transaction, all others queue behind it, so it waits at most 5 s. messages
            -- comes first because an append locks it first.
            PERFORM set_config('lock_timeout', '5s', true);
            LOCK TABLE messages, sessions, removed_messages, changes, dal_schema IN ACCESS EXCLUSIVE MODE;
        ELSIF EXISTS (SELECT FROM sessions) THEN
            RAISE EXCEPTION 'schema "%" already holds sessions, in tables that are not distributed', current_schema()
            USING ERRCODE = 'duplicate_table',
                HINT = 'To distribute them with their rows, run dal schema apply --distributed --in-place. Services wait meanwhile.';
        END IF;
        -- Citus finds the shard of a text, but not of a domain: with a domain here, a query of one session returns no
        -- row. So the column of sessions becomes a text, as it is in the other tables, and a constraint checks it.
        ALTER TABLE sessions ALTER COLUMN session_id TYPE text COLLATE "C",
        ADD CONSTRAINT sessions_session_id_fits CHECK (session_id <> '' AND length(session_id) <= 255);
        -- The foreign keys lead to the shards, which several connections at once could not create in one transaction.
        PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);
        PERFORM create_reference_table('dal_schema');
        -- The shards are not placed together with those of other tables, so that a rebalance moves only sessions.
        PERFORM create_distributed_table('sessions', 'session_id', colocate_with := 'none');
        PERFORM create_distributed_table('messages', 'session_id', colocate_with := 'sessions');
        PERFORM create_distributed_table('removed_messages', 'session_id', colocate_with := 'sessions');
        PERFORM create_distributed_table('changes', 'session_id', colocate_with := 'sessions');
    END IF;
    -- The functions keep this search_path: on a worker there is no other, and temporary tables must not hide ours.
    PERFORM set_config('dal.search_path', current_setting('search_path'), true);
    PERFORM set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);
END
$$;
