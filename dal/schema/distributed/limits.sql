-- Limit how long this transaction waits for each lock, on every node of the cluster, and change one shard after the other.
DO $$
BEGIN
    -- SET LOCAL, unlike set_config(), is then sent to the workers.
    PERFORM set_config('citus.propagate_set_commands', 'local', true);
    SET LOCAL lock_timeout = '250ms';
    PERFORM set_config('citus.multi_shard_modify_mode', 'sequential', true);
END
$$;
