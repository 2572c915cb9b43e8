-- name: has_citus()^
-- Return whether the database has the extension Citus.
SELECT count(*) > 0 AS is_there
FROM pg_extension AS e
WHERE e.extname = 'citus';

-- name: own_and_other_nodes()^
-- Count the nodes that have shards: this one, and the others.
SELECT
    count(*) FILTER (WHERE n.groupid = l.groupid) AS own,
    count(*) FILTER (WHERE n.groupid <> l.groupid) AS others
FROM pg_dist_node AS n
CROSS JOIN pg_dist_local_group AS l
WHERE n.shouldhaveshards AND n.isactive;

-- name: set_shard_count(shards)^
-- Set the number of shards of the tables that this connection distributes.
SELECT set_config('citus.shard_count', :shards::text, false) AS shards;

-- name: log_remote_commands()^
-- Send each remote command to the client as a notice.
SELECT
    set_config('citus.log_remote_commands', 'on', false) AS logged,
    set_config('client_min_messages', 'log', false) AS level;
