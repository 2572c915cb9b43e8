-- name: next_xid()^
-- Return the id of the next transaction that writes.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xid;

-- name: older_snapshots(xid)^
-- Count the other connections to this database with a snapshot from before a transaction. For them the server keeps
--   all row versions that were replaced since, and index-only scans read the table.
SELECT count(*) AS snapshots
FROM pg_stat_activity AS a
WHERE
    a.datname = current_database()
    AND a.pid <> pg_backend_pid()
    AND age(a.backend_xmin) > age((mod(:xid::text::numeric, 4294967296))::text::xid);
