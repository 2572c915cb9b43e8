-- name: next_xid()^
-- Read the number that the next transaction that writes will have.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xid;

-- name: older_snapshots(xid)^
-- Count the other connections to this database that hold a snapshot from before a transaction: for them the server
--   keeps each row version that has ended since, and lets no index be read without its table.
SELECT count(*) AS snapshots
FROM pg_stat_activity AS a
WHERE
    a.datname = current_database()
    AND a.pid <> pg_backend_pid()
    AND age(a.backend_xmin) > age((mod(:xid::text::numeric, 4294967296))::text::xid);
