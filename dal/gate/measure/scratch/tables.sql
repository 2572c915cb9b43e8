-- name: tables()
-- List the tables in the first schema of the search_path.
SELECT t.tablename FROM pg_tables AS t
WHERE t.schemaname = current_schema();
