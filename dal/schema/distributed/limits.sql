-- Limit how long this transaction waits for each lock, on every node of the cluster, and change one shard after the other.
SET LOCAL citus.propagate_set_commands = 'local';
SET LOCAL lock_timeout = '250ms';
SET LOCAL citus.multi_shard_modify_mode = 'sequential';
