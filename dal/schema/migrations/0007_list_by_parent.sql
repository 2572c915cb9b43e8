-- Version 7: the children of a session are listed through an index, and the constraints of version 6 hold for all rows.
--
-- Run: each statement on its own, outside a transaction. The index is built while services write. If an interruption
--   left it invalid, it is built again.
-- Locks: ShareUpdateExclusive on sessions, which blocks neither reads nor writes. To drop an invalid index, also sessions
--   (reads and writes), until the commit, which follows at once.
--
--     psql --set ON_ERROR_STOP=1 --file 0007_list_by_parent.sql
DO $$
DECLARE
    found integer;
BEGIN
    EXECUTE format('SELECT version FROM %I.dal_schema ORDER BY version DESC LIMIT 1', current_schema())
    INTO found;
    IF found <> 6 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 6',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs every missing file.';
    END IF;
    -- If someone is building it now, this waits and gives up; run it again then.
    PERFORM set_config('lock_timeout', '250ms', true);
    IF EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indexrelid = to_regclass('sessions_listed_of_parent') AND NOT i.indisvalid
    ) THEN
        DROP INDEX IF EXISTS sessions_listed_of_parent;
    END IF;
END
$$;

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_parent ON sessions (parent_id, status, listed_at, session_id)
WHERE parent_id IS NOT NULL;

DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indexrelid = to_regclass('sessions_listed_of_parent') AND i.indisvalid
    ) THEN
        RAISE EXCEPTION 'the new index on sessions is not complete'
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Another upgrade may be building it; run this file again.';
    END IF;
    -- The table is scanned once for all of them.
    ALTER TABLE sessions
    VALIDATE CONSTRAINT sessions_status_is_known,
    VALIDATE CONSTRAINT sessions_trashed_has_its_origin,
    VALIDATE CONSTRAINT sessions_archived_has_its_time,
    VALIDATE CONSTRAINT sessions_only_archived_caches;
    INSERT INTO dal_schema (version, usable_from) SELECT 7, usable_from FROM dal_schema WHERE version = 6;
END
$$;
