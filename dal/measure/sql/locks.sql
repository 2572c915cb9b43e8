-- name: locks()
-- List the locks that this transaction holds on tables of the first schema of the search_path.
SELECT
    c.relname AS relation,
    replace(l.mode, 'Lock', '') AS mode
FROM pg_locks AS l
INNER JOIN pg_class AS c ON l.relation = c.oid
WHERE
    l.pid = pg_backend_pid()
    AND c.relkind IN ('r', 'p')
    AND c.relnamespace = current_schema()::regnamespace;
