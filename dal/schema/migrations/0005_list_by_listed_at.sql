-- Version 5: the indexes for lists have the order of the lists, so that a page never sorts a busy hour.
--
-- Run: each statement on its own, outside a transaction. The indexes are built while services write. An index that an
--   interruption left invalid is built again. Older releases still use the indexes by active_hour, until dal schema
--   upgrade --finish drops them.
-- Locks: ShareUpdateExclusive on sessions, which blocks neither reads nor writes. To drop an invalid index, also sessions
--   (reads and writes), until the commit, which follows at once.
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
            HINT = 'Run dal schema upgrade, which runs every missing file.';
    END IF;
    -- If someone is building one of them now, this waits and gives up; run it again then.
    PERFORM set_config('lock_timeout', '250ms', true);
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
        EXECUTE 'DROP INDEX IF EXISTS ' || unfinished;
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
        RAISE EXCEPTION 'some of the new indexes on sessions are not complete'
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Another upgrade may be building them; run this file again.';
    END IF;
    INSERT INTO dal_schema (version, usable_from) VALUES (5, 1);
END
$$;
