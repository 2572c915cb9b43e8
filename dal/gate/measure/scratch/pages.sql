-- name: pages()
-- List the tables in the first schema of the search_path, with their pages at the last vacuum.
SELECT
    c.relname,
    c.relpages
FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r';
