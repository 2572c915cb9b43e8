-- name: search_path()^
-- Return the connection's search_path.
SELECT current_setting('search_path') AS search_path;
