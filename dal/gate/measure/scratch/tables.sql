-- name: tables()
-- List the tables of the first schema of the search_path.
SELECT t.tablename FROM pg_tables AS t
WHERE t.schemaname = current_schema();
