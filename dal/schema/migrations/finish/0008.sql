-- Drop the CHECK constraints that slow down appends, and check single values by domains instead.
--
-- Run: each statement on its own, outside a transaction, when no release made for version 7 or before runs any more, and
--   you will not go back to one: its prepared statements would fail. It can be run again after an interruption.
-- Locks: the second block locks all tables but dal_schema (reads and writes), until its commit, which follows at once.
--   Nothing is rewritten or scanned under this lock: a domain is stored like its base type, and the dropped constraints
--   have checked every row. PostgreSQL would rebuild partial indexes under the lock. So the file builds complete indexes
--   before it, drops the partial ones under it, and builds them again after it. The other statements take at most
--   ShareUpdateExclusive on sessions and messages, which blocks neither reads nor writes. If an earlier run has left an
--   invalid index, the first block locks that index's table (reads and writes), until its commit.
--
--     psql --set ON_ERROR_STOP=1 --file 0008.sql
DO $$
DECLARE
    dependent text;
    unfinished text;
BEGIN
    PERFORM set_config('lock_timeout', '250ms', true);
    -- PostgreSQL refuses to change the type of a column that a view, a trigger or a policy depends on.
    SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ') INTO dependent
    FROM pg_depend AS d
    INNER JOIN pg_attribute AS a ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
    WHERE
        d.refclassid = 'pg_class'::regclass
        AND d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass)
        AND a.atttypid IN ('text'::regtype, 'jsonb'::regtype)
        AND (
            (
                d.refobjid = 'sessions'::regclass
                AND a.attname IN ('session_id', 'status', 'source', 'user_id', 'parent_id', 'metadata')
            )
            OR (
                d.refobjid = 'messages'::regclass
                AND a.attname IN ('message_id', 'role', 'agent_id', 'metadata')
            )
        );
    IF dependent IS NOT NULL THEN
        RAISE EXCEPTION 'cannot change the types of columns, since these objects depend on them: %', dependent
        USING ERRCODE = 'dependent_objects_still_exist',
            HINT = 'Drop them, run dal schema upgrade --finish again, and create them again.';
    END IF;
    -- If another upgrade is building one of these indexes now, DROP INDEX waits for it and times out.
    FOR unfinished IN
        SELECT i.indexrelid::regclass::text
        FROM unnest('{sessions_listed,sessions_listed_of_user,sessions_listed_of_source,sessions_listed_of_parent,messages_by_agent}'::text[]) AS w (name)
        INNER JOIN pg_index AS i
            ON i.indexrelid IN (to_regclass(w.name), to_regclass(w.name || '_complete'))
        WHERE NOT i.indisvalid AND i.indrelid IN ('sessions'::regclass, 'messages'::regclass)
    LOOP
        EXECUTE 'DROP INDEX IF EXISTS ' || unfinished;
    END LOOP;
END
$$;

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_complete ON sessions (status, listed_at, session_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_user_complete
ON sessions (user_id, status, listed_at, session_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_source_complete
ON sessions (source, status, listed_at, session_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_parent_complete
ON sessions (parent_id, status, listed_at, session_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_by_agent_complete ON messages (session_id, agent_id, sequence);

DO $$
DECLARE
    name text;
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute AS a
        WHERE a.attrelid = 'sessions'::regclass AND a.attname = 'session_id' AND a.atttypid = 'dal_identifier'::regtype
    ) THEN
        RETURN; -- An earlier run has changed the types.
    END IF;
    IF (
        SELECT count(*)
        FROM unnest('{sessions_listed,sessions_listed_of_user,sessions_listed_of_source,sessions_listed_of_parent,messages_by_agent}'::text[]) AS w (name)
        INNER JOIN pg_index AS i ON i.indexrelid = to_regclass(w.name || '_complete')
        WHERE i.indisvalid
    ) < 5 THEN
        RAISE EXCEPTION 'some of the temporary indexes are not complete'
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Another upgrade may be building them; run this file again.';
    END IF;
    -- The timeout is per table. There are four, so writers wait for less than half a second.
    PERFORM set_config('lock_timeout', '100ms', true);
    LOCK TABLE messages, removed_messages, changes, sessions IN ACCESS EXCLUSIVE MODE;
    FOREACH name IN ARRAY '{sessions_listed,sessions_listed_of_user,sessions_listed_of_source,sessions_listed_of_parent,messages_by_agent}'::text[] LOOP
        EXECUTE format('DROP INDEX IF EXISTS %I', name);
    END LOOP;
    ALTER TABLE sessions
    DROP CONSTRAINT sessions_ids_fit,
    DROP CONSTRAINT sessions_status_is_known,
    DROP CONSTRAINT sessions_trashed_has_its_origin,
    DROP CONSTRAINT sessions_counts_agree,
    DROP CONSTRAINT sessions_archived_has_its_time,
    DROP CONSTRAINT sessions_metadata_is_an_object,
    ALTER COLUMN session_id TYPE dal_identifier,
    ALTER COLUMN status TYPE dal_status,
    ALTER COLUMN source TYPE dal_identifier,
    ALTER COLUMN user_id TYPE dal_identifier,
    ALTER COLUMN parent_id TYPE dal_identifier,
    ALTER COLUMN metadata TYPE dal_object;
    ALTER TABLE messages
    DROP CONSTRAINT messages_ids_fit,
    DROP CONSTRAINT messages_sequence_is_not_negative,
    DROP CONSTRAINT messages_metadata_is_an_object,
    ALTER COLUMN message_id TYPE dal_identifier,
    ALTER COLUMN role TYPE dal_identifier,
    ALTER COLUMN agent_id TYPE dal_identifier,
    ALTER COLUMN metadata TYPE dal_object;
    ALTER DOMAIN dal_identifier ADD CONSTRAINT dal_identifier_fits
    CHECK (value <> '' AND length(value) <= 255) NOT VALID;
    ALTER DOMAIN dal_status ADD CONSTRAINT dal_status_is_known
    CHECK (value IN ('active', 'paused', 'archived', 'trashed', 'deleted')) NOT VALID;
    ALTER DOMAIN dal_object ADD CONSTRAINT dal_object_is_an_object
    CHECK (jsonb_typeof(value) = 'object') NOT VALID;
END
$$;

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed ON sessions (status, listed_at, session_id)
WHERE status <> '';

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_user ON sessions (user_id, status, listed_at, session_id)
WHERE user_id IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_source ON sessions (source, status, listed_at, session_id)
WHERE source IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_listed_of_parent ON sessions (parent_id, status, listed_at, session_id)
WHERE parent_id IS NOT NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_by_agent ON messages (session_id, agent_id, sequence)
WHERE agent_id IS NOT NULL;

DO $$
BEGIN
    IF (
        SELECT count(*)
        FROM unnest('{sessions_listed,sessions_listed_of_user,sessions_listed_of_source,sessions_listed_of_parent,messages_by_agent}'::text[]) AS w (name)
        INNER JOIN pg_index AS i ON i.indexrelid = to_regclass(w.name)
        WHERE i.indisvalid
    ) < 5 THEN
        RAISE EXCEPTION 'some of the indexes are not complete'
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Another upgrade may be building them; run this file again.';
    END IF;
END
$$;

-- PostgreSQL has deleted the statistics of the columns whose types have changed.
ANALYZE sessions;

ANALYZE messages;

DROP INDEX CONCURRENTLY IF EXISTS sessions_listed_complete;

DROP INDEX CONCURRENTLY IF EXISTS sessions_listed_of_user_complete;

DROP INDEX CONCURRENTLY IF EXISTS sessions_listed_of_source_complete;

DROP INDEX CONCURRENTLY IF EXISTS sessions_listed_of_parent_complete;

DROP INDEX CONCURRENTLY IF EXISTS messages_by_agent_complete;

UPDATE dal_schema SET usable_from = 8
WHERE version >= 8 AND usable_from < 8;
