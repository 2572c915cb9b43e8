-- Set the number of shards of the tables that this transaction distributes.
SELECT set_config('citus.shard_count', $1::text, true) AS shards;
