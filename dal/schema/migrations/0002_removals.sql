-- Version 2: removals are noted, so that one that is sent again spares what was appended since.
--
-- Releases that were made for version 1 may go on using the tables: they note no removal.
-- Locks: dal_schema against all and sessions against writes, by the last statements, until the commit that
--   follows at once. Without the timeout, every append would queue up behind this file while it waits for the end
--   of a long transaction; so it gives up instead, and is run again.
-- Run it on its own, with the schema's name on the search_path, or let dal schema upgrade do it:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file 0002_removals.sql
SET LOCAL lock_timeout = '500ms';
SET LOCAL statement_timeout = '5s';

-- One at a time, and only upon the version before.
DO $$
DECLARE
    found integer;
BEGIN
    -- The key that schema.sql takes too.
    PERFORM pg_advisory_xact_lock(x'73657373696F6E2D'::bigint);
    EXECUTE format('SELECT version FROM %I.dal_schema ORDER BY version DESC LIMIT 1', current_schema())
    INTO found;
    IF found <> 1 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 1',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs what is missing.';
    END IF;
END
$$;

CREATE TABLE removals (
    sequence bigint NOT NULL,
    messages bigint NOT NULL,
    removed_at timestamptz NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    removal_id text COLLATE "C" NOT NULL,

    CONSTRAINT removals_pkey PRIMARY KEY (session_id, removal_id),
    CONSTRAINT removals_ids_fit CHECK (length(removal_id) BETWEEN 1 AND 255),
    CONSTRAINT removals_are_counted CHECK (sequence >= 0 AND messages >= 0)
);

COMMENT ON TABLE removals IS 'One row a removal of messages, so that one that is sent again is known.';
COMMENT ON COLUMN removals.sequence IS 'From which number on messages were removed.';
COMMENT ON COLUMN removals.messages IS 'How many there were.';
COMMENT ON COLUMN removals.removed_at IS 'When it was removed.';
COMMENT ON COLUMN removals.session_id IS 'The session.';
COMMENT ON COLUMN removals.removal_id IS 'A ULID that the removal was sent with.';

-- From here on a store can tell whether newer tables serve it too.
ALTER TABLE dal_schema ADD COLUMN usable_from integer;
COMMENT ON COLUMN dal_schema.usable_from IS 'Releases that were made for this version or a later one can use the tables; null where it is the row''s own alone.';
INSERT INTO dal_schema (version, usable_from) VALUES (2, 1);

-- Last, since it locks sessions; the table is empty, so nothing is there to validate.
ALTER TABLE removals ADD CONSTRAINT removals_session_id_fkey
FOREIGN KEY (session_id) REFERENCES sessions (session_id) ON DELETE CASCADE;
