-- name: search_path()^
-- Read the search_path that this connection has by now.
SELECT current_setting('search_path') AS search_path;
