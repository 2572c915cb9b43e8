-- Version 2: removals are recorded, so that a repeated removal keeps messages that were appended since.
--
-- Releases made for version 1 can still use the tables; they record no removals.
-- Locks: the last statements lock dal_schema (reads and writes) and sessions (writes), until the commit, which
--   follows at once. Without the timeout, every append would queue behind this file while it waits for a long
--   transaction. So it gives up instead; run it again.
-- Run it with the schema's name on the search_path, or use dal schema upgrade:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file 0002_removals.sql
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
    IF found <> 1 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 1',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs every missing file.';
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

COMMENT ON TABLE removals IS 'One row per removal of messages (a tombstone), so that a repeated removal is recognised.';
COMMENT ON COLUMN removals.sequence IS 'The number from which on messages were removed.';
COMMENT ON COLUMN removals.messages IS 'The number of removed messages.';
COMMENT ON COLUMN removals.removed_at IS 'When the messages were removed.';
COMMENT ON COLUMN removals.session_id IS 'The session.';
COMMENT ON COLUMN removals.removal_id IS 'A ULID that identifies the removal.';

-- From now on a store can see whether it can use newer tables.
ALTER TABLE dal_schema ADD COLUMN usable_from integer;
COMMENT ON TABLE dal_schema IS 'The versions of session-dal''s schema that were applied here.';
COMMENT ON COLUMN dal_schema.version IS 'The version; the highest one is in force.';
COMMENT ON COLUMN dal_schema.applied_at IS 'When the version was applied.';
COMMENT ON COLUMN dal_schema.usable_from IS 'The oldest version whose releases can use the tables; null if only releases of the row''s own version can.';
INSERT INTO dal_schema (version, usable_from) VALUES (2, 1);

-- Last, since it locks sessions. The table is empty, so there is nothing to validate.
ALTER TABLE removals ADD CONSTRAINT removals_session_id_fkey
FOREIGN KEY (session_id) REFERENCES sessions (session_id) ON DELETE CASCADE;
