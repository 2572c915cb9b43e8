-- name: check()
-- Read the definitions of the tables on the search_path, to compare them with schema.sql.
--
-- One statement: The version, and one row for each table, column, domain of a column, constraint, index,
--   storage parameter, trigger, rule, policy, and foreign key of another table. Also one row for each table
--   whose owner is neither the current role nor a member of the role that owns the schema or the database,
--   since anyone else may have planted it. Definitions are the server's own text. Named NOT NULL constraints
--   (PostgreSQL 18) appear as properties of their columns, as in older versions. TABLESAMPLE reads all rows
--   here, and the server refuses it for a view: a view that someone planted under this name could otherwise
--   run code as the connecting role. On a Citus cluster, also one row for each distributed table, known by a
--   trigger that only Citus can create, and one for each function of the distributed layout.
-- Index: those of the system catalog.
-- Rows locked: none.
-- Promises: 1 round trip; buffers O(1) in the sessions; at most 3 buffers
-- Locks: AccessShare on dal_schema
-- Never: none
-- Repeat: safe: it only reads.
-- Returns: SchemaFact; no row of kind version if the schema was never applied completely.
WITH ours AS (
    SELECT
        c.oid,
        c.relname AS table_name,
        c.relowner,
        c.reloptions,
        c.relrowsecurity,
        n.nspname,
        n.nspowner,
        concat(
            CASE c.relpersistence WHEN 't' THEN 'temporary ' WHEN 'u' THEN 'unlogged ' END,
            CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' ELSE 'other relation' END
        ) AS kind
    FROM unnest('{dal_schema,sessions,messages,removed_messages,changes}'::text[]) AS w (name)
    INNER JOIN pg_class AS c ON c.oid = to_regclass(w.name)
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
)

SELECT
    'dal_schema' AS table_name,
    'version' AS kind,
    v.version::text AS name,
    v.usable_from AS definition
FROM (
    SELECT
        s.version,
        coalesce(to_jsonb(s) ->> 'usable_from', s.version::text) AS usable_from
    FROM dal_schema AS s TABLESAMPLE SYSTEM (100)
    ORDER BY s.version DESC
    LIMIT 1
) AS v
UNION ALL
SELECT
    o.table_name,
    'table' AS kind,
    o.nspname AS name,
    o.kind AS definition
FROM ours AS o
UNION ALL
SELECT
    o.table_name,
    'stranger' AS kind,
    pg_get_userbyid(o.relowner) AS name,
    o.nspname AS definition
FROM ours AS o
INNER JOIN pg_database AS d ON d.datname = current_database()
WHERE
    o.relowner <> quote_ident(current_user)::regrole
    AND NOT pg_has_role(o.relowner, o.nspowner, 'MEMBER')
    AND NOT pg_has_role(o.relowner, d.datdba, 'MEMBER')
UNION ALL
SELECT
    o.table_name,
    'column' AS kind,
    a.attname AS name,
    concat_ws(
        ' ',
        format_type(b.oid, a.atttypmod),
        CASE WHEN a.attcollation <> b.typcollation THEN 'COLLATE ' || quote_ident(l.collname) END,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END,
        CASE WHEN a.attgenerated = '' THEN 'DEFAULT ' ELSE 'GENERATED ALWAYS AS ' END
        || pg_get_expr(d.adbin, d.adrelid)
    ) AS definition
FROM ours AS o
INNER JOIN pg_attribute AS a ON o.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
INNER JOIN pg_type AS t ON a.atttypid = t.oid
INNER JOIN pg_type AS b ON coalesce(nullif(t.typbasetype, 0), t.oid) = b.oid
LEFT JOIN pg_collation AS l ON a.attcollation = l.oid
LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
UNION ALL
SELECT
    o.table_name,
    'domain' AS kind,
    a.attname AS name,
    concat_ws(
        ' ',
        format_type(t.oid, NULL),
        (
            SELECT string_agg(regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), ' ' ORDER BY k.conname)
            FROM pg_constraint AS k
            WHERE k.contypid = t.oid
        )
    ) AS definition
FROM ours AS o
INNER JOIN pg_attribute AS a ON o.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
INNER JOIN pg_type AS t ON a.atttypid = t.oid AND t.typtype = 'd'
UNION ALL
SELECT
    o.table_name,
    'constraint' AS kind,
    k.conname AS name,
    concat(
        pg_get_constraintdef(k.oid),
        CASE WHEN NOT i.indisvalid THEN ' INVALID' END,
        CASE WHEN EXISTS (
            SELECT FROM pg_trigger AS g
            WHERE g.tgconstraint = k.oid AND g.tgenabled = 'D'
        ) THEN ' DISABLED' END
    ) AS definition
FROM ours AS o
INNER JOIN pg_constraint AS k ON o.oid = k.conrelid AND k.contype NOT IN ('n', 't')
LEFT JOIN pg_index AS i ON k.conindid = i.indexrelid AND k.contype <> 'f'
UNION ALL
SELECT
    o.table_name,
    'index' AS kind,
    c.relname AS name,
    concat(
        CASE WHEN i.indisunique THEN 'UNIQUE ' END,
        regexp_replace(pg_get_indexdef(i.indexrelid), '^.*? USING | WITH \([^)]*\)', '', 'g'),
        CASE WHEN NOT i.indisvalid THEN ' INVALID' END
    ) AS definition
FROM ours AS o
INNER JOIN pg_index AS i ON o.oid = i.indrelid
INNER JOIN pg_class AS c ON i.indexrelid = c.oid
WHERE NOT EXISTS (
    SELECT FROM pg_constraint AS k
    WHERE k.conrelid = o.oid AND k.conindid = i.indexrelid AND k.contype <> 'f'
)
UNION ALL
SELECT
    o.table_name,
    'parameter' AS kind,
    split_part(p.parameter, '=', 1) AS name,
    split_part(p.parameter, '=', 2) AS definition
FROM ours AS o
CROSS JOIN LATERAL unnest(o.reloptions) AS p (parameter)
UNION ALL
SELECT
    o.table_name,
    CASE WHEN g.tgisinternal THEN 'foreign key' ELSE 'trigger' END AS kind,
    coalesce(k.conname, g.tgname) AS name,
    CASE
        WHEN g.tgisinternal THEN 'of table ' || g.tgconstrrelid::regclass
        ELSE 'calls ' || g.tgfoid::regprocedure
    END AS definition
FROM ours AS o
INNER JOIN pg_trigger AS g ON o.oid = g.tgrelid
LEFT JOIN pg_constraint AS k ON g.tgconstraint = k.oid AND g.tgisinternal
WHERE
    NOT g.tgisinternal
    -- Of a foreign key, the table that it refers to has two: for a deletion, and for an update.
    OR (g.tgtype & 8 = 8 AND k.contype = 'f' AND g.tgconstrrelid NOT IN (SELECT c.oid FROM ours AS c))
UNION ALL
SELECT
    o.table_name,
    'rule' AS kind,
    r.rulename AS name,
    pg_get_ruledef(r.oid) AS definition
FROM ours AS o
INNER JOIN pg_rewrite AS r ON o.oid = r.ev_class AND r.rulename <> '_RETURN'
UNION ALL
SELECT
    o.table_name,
    'row-level security' AS kind,
    coalesce(p.polname, 'no policy') AS name,
    coalesce(pg_get_expr(p.polqual, p.polrelid), '') AS definition
FROM ours AS o
LEFT JOIN pg_policy AS p ON o.oid = p.polrelid
WHERE o.relrowsecurity
UNION ALL
SELECT
    o.table_name,
    'distributed' AS kind,
    'citus' AS name,
    '' AS definition
FROM ours AS o
INNER JOIN pg_trigger AS g ON o.oid = g.tgrelid AND g.tgisinternal
INNER JOIN pg_proc AS p ON g.tgfoid = p.oid AND p.proname = 'citus_truncate_trigger'
UNION ALL
SELECT
    o.table_name,
    'function' AS kind,
    f.proname AS name,
    CASE
        WHEN
            f.proowner = quote_ident(current_user)::regrole
            OR pg_has_role(f.proowner, o.nspowner, 'MEMBER')
            OR pg_has_role(f.proowner, d.datdba, 'MEMBER')
            THEN encode(sha256(convert_to(f.prosrc, 'UTF8')), 'hex')
        ELSE 'owned by ' || pg_get_userbyid(f.proowner)
    END AS definition
FROM ours AS o
INNER JOIN pg_trigger AS g ON o.oid = g.tgrelid AND g.tgisinternal
INNER JOIN pg_proc AS p ON g.tgfoid = p.oid AND p.proname = 'citus_truncate_trigger'
INNER JOIN pg_namespace AS n ON o.nspname = n.nspname
INNER JOIN pg_proc AS f ON n.oid = f.pronamespace AND starts_with(f.proname, 'dal_')
INNER JOIN pg_database AS d ON d.datname = current_database()
WHERE o.table_name = 'sessions';
