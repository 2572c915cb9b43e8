-- Version 5: lists have indexes in their own order, so that a busy hour is not sorted.
--
-- Run: each statement on its own, outside a transaction. The indexes are built while services write, and an index that
--   was left unfinished is built anew. The ones by active_hour stay for the releases that use them, until
--   dal schema upgrade --finish drops them.
-- Locks: ShareUpdateExclusive on sessions, which lets everybody read and write.
--
--     psql --set ON_ERROR_STOP=1 --file 0005_list_by_listed_at.sql
DO $$
DECLARE
    found integer;
    unfinished text;
BEGIN
    EXECUTE format('SELECT version FROM %I.dal_schema ORDER BY version DESC LIMIT 1', current_schema())
    INTO found;
    IF found <> 4 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 4',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs what is missing.';
    END IF;
    -- One that is being built at this moment is waited for, and found ready when this is run again.
    PERFORM set_config('lock_timeout', '500ms', true);
    FOR unfinished IN
        SELECT i.indexrelid::regclass::text
        FROM pg_index AS i
        WHERE
            i.indrelid = 'sessions'::regclass
            AND NOT i.indisvalid
            AND i.indexrelid IN (
                to_regclass('sessions_listed'),
                to_regclass('sessions_listed_of_user'),
                to_regclass('sessions_listed_of_source')
            )
    LOOP
        EXECUTE 'DROP INDEX ' || unfinished;
    END LOOP;
END
$$;

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed ON sessions (status, listed_at, session_id)
WHERE status <> '';

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_user ON sessions (user_id, status, listed_at, session_id)
WHERE user_id IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_source ON sessions (source, status, listed_at, session_id)
WHERE source IS NOT NULL;

DO $$
BEGIN
    IF (
        SELECT count(*)
        FROM pg_index AS i
        WHERE
            i.indisvalid
            AND i.indexrelid IN (
                to_regclass('sessions_listed'),
                to_regclass('sessions_listed_of_user'),
                to_regclass('sessions_listed_of_source')
            )
    ) < 3 THEN
        RAISE EXCEPTION 'the indexes of sessions are not all built yet'
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Somebody else may be building them: run this file again.';
    END IF;
    INSERT INTO dal_schema (version, usable_from) VALUES (5, 1);
END
$$;
