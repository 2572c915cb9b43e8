-- List the nodes of the cluster on which synchronous_commit is off.
SELECT concat(n.nodename, ':', n.nodeport) AS node
FROM run_command_on_all_nodes('SHOW synchronous_commit') AS r
INNER JOIN pg_dist_node AS n ON r.nodeid = n.nodeid
WHERE r.success AND r.result = 'off'
ORDER BY n.nodeid;
