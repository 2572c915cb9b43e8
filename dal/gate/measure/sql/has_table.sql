-- name: has_table(name)^
-- Tell whether there is a table of this name, in whatever schema.
SELECT count(*) > 0 AS is_there
FROM pg_class AS c
WHERE c.relname = :name::text AND c.relkind IN ('r', 'p', 'm', 'f');
