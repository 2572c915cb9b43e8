-- Set the number of shards of the tables that this transaction distributes, and whether they may already hold sessions.
SELECT
    set_config('citus.shard_count', $1::text, true) AS shards,
    set_config('dal.in_place', $2::text, true) AS in_place;
