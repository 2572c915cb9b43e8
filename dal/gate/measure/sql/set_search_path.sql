-- name: set_search_path(search_path)^
-- Set the connection's search_path.
SELECT set_config('search_path', :search_path::text, false) AS search_path;
