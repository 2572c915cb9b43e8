-- name: pages()
-- List the tables of the first schema of the search_path, and how many pages each had when last vacuumed.
SELECT
    c.relname,
    c.relpages
FROM pg_class AS c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r';
