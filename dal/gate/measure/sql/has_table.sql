-- name: has_table(name)^
-- Return whether a table of this name exists, in any schema.
SELECT count(*) > 0 AS is_there
FROM pg_class AS c
WHERE c.relname = :name::text AND c.relkind IN ('r', 'p', 'm', 'f');
