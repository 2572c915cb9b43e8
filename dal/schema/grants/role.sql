-- name: role(wanted)^
-- Return the schema of the tables, whether the role exists, whether it owns the tables, itself or as a member of their
-- owner, and the functions of the distributed layout.
SELECT
    n.nspname AS schema,
    r.oid IS NOT NULL AS is_known,
    pg_has_role(r.oid, c.relowner, 'USAGE') AS is_owner,
    array(
        SELECT p.proname::text
        FROM pg_proc AS p
        WHERE p.pronamespace = c.relnamespace AND starts_with(p.proname, 'dal_')
        ORDER BY p.proname
    ) AS functions
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
LEFT JOIN pg_roles AS r ON r.rolname = :wanted::text
WHERE c.oid = to_regclass('sessions');
