-- name: set_search_path(search_path)^
-- Give this connection a search_path, as the setting's text.
SELECT set_config('search_path', :search_path::text, false) AS search_path;
