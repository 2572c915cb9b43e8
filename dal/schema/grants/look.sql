-- name: look(wanted)^
-- Look where the tables are, whether a role is there, and whether it owns them, by itself or as a member of another.
SELECT
    n.nspname AS schema,
    r.oid IS NOT NULL AS is_there,
    pg_has_role(r.oid, c.relowner, 'USAGE') AS is_owner
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
LEFT JOIN pg_roles AS r ON r.rolname = :wanted::text
WHERE c.oid = to_regclass('sessions');
