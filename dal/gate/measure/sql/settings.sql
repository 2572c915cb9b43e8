-- name: settings()
-- List the settings that influence plans and costs.
SELECT
    s.name,
    current_setting(s.name) AS value
FROM pg_settings AS s
WHERE
    starts_with(s.category, 'Query Tuning')
    OR s.name IN ('shared_buffers', 'work_mem', 'full_page_writes', 'wal_level', 'synchronous_commit', 'TimeZone')
ORDER BY s.name;
