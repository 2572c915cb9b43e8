-- Version 8: domains for the values of columns. The tables use them once dal schema upgrade --finish has run.
--
-- Until then the tables keep their CHECK constraints, and releases made for earlier versions can use them.
-- Locks: none on tables.
-- Run it with the schema's name on the search_path, or use dal schema upgrade:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file 0008_domains.sql
SET LOCAL lock_timeout = '250ms';
SET LOCAL statement_timeout = '5s';

-- Only one upgrade at a time, and only from the previous version.
DO $$
DECLARE
    found integer;
BEGIN
    -- The same key as in schema.sql.
    PERFORM pg_advisory_xact_lock(x'73657373696F6E2D'::bigint);
    EXECUTE format('SELECT version FROM %I.dal_schema ORDER BY version DESC LIMIT 1', current_schema())
    INTO found;
    IF found <> 7 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 7',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs every missing file.';
    END IF;
END
$$;

-- The domains have no constraints yet: PostgreSQL changes a column's type to a domain without a scan only if the domain
-- has none. finish/0008.sql adds them.
CREATE DOMAIN dal_identifier AS text COLLATE "C";
CREATE DOMAIN dal_status AS text COLLATE "C";
CREATE DOMAIN dal_object AS jsonb;

COMMENT ON DOMAIN dal_identifier IS 'An id, a role or a source: 1 to 255 characters, compared as bytes.';
COMMENT ON DOMAIN dal_status IS 'The status of a session.';
COMMENT ON DOMAIN dal_object IS 'A JSON object.';

INSERT INTO dal_schema (version, usable_from)
SELECT
    8 AS version,
    s.usable_from
FROM dal_schema AS s
WHERE s.version = 7;
