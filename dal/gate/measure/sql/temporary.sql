-- name: temporary()^
-- Read how many temporary files were written in this database until now, and their bytes.
SELECT
    d.temp_files,
    d.temp_bytes
FROM pg_stat_database AS d
WHERE d.datname = current_database();
