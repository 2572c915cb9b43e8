-- name: touched()
-- Return this transaction's counters of all tables and indexes outside the catalog. They include triggers in any
--   schema. They exclude other connections, and parallel workers (see serial.sql).
-- Buffers: shared buffers, hit or read; those of a table include its TOAST.
-- Rows read: rows returned by sequential scans, and entries returned by index scans.
SELECT
    t.relation,
    t.buffers,
    t.rows_read,
    t.rows_written,
    t.updates,
    t.hot_updates
FROM (
    SELECT
        CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END AS relation,
        pg_stat_get_xact_blocks_fetched(c.oid)
        + CASE
            WHEN c.reltoastrelid = 0 THEN 0
            ELSE pg_stat_get_xact_blocks_fetched(c.reltoastrelid) + (
                SELECT sum(pg_stat_get_xact_blocks_fetched(i.indexrelid))::bigint
                FROM pg_index AS i
                WHERE i.indrelid = c.reltoastrelid
            )
        END AS buffers,
        pg_stat_get_xact_tuples_returned(c.oid) AS rows_read,
        pg_stat_get_xact_tuples_inserted(c.oid)
        + pg_stat_get_xact_tuples_updated(c.oid)
        + pg_stat_get_xact_tuples_deleted(c.oid) AS rows_written,
        pg_stat_get_xact_tuples_updated(c.oid) AS updates,
        pg_stat_get_xact_tuples_hot_updated(c.oid) AS hot_updates
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE c.relkind IN ('r', 'm', 'i') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
) AS t
WHERE t.buffers > 0 OR t.rows_read > 0 OR t.rows_written > 0;
