-- List the lowest hash of a session_id in each shard, in order.
SELECT s.shardminvalue::integer AS lowest
FROM pg_dist_shard AS s
WHERE s.logicalrelid = 'sessions'::regclass
ORDER BY s.shardminvalue::integer;
