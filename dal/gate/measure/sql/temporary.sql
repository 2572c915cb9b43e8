-- name: temporary()^
-- Return the number of temporary files that were written in this database, and their bytes.
SELECT
    d.temp_files,
    d.temp_bytes
FROM pg_stat_database AS d
WHERE d.datname = current_database();
