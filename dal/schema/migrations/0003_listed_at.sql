-- Version 3: sessions have a place in lists, which moves at most once a minute.
--
-- Releases that were made for version 1 or 2 may go on using the tables. They do not know listed_at, so a trigger
--   moves it for them, until dal schema upgrade --finish drops it.
-- Locks: sessions against all, until the commit that follows at once: no row is rewritten, since those that are there
--   have the default's value without being touched. The timeout is there for the reason that 0002_removals.sql gives.
-- Run it on its own, with the schema's name on the search_path, or let dal schema upgrade do it:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file 0003_listed_at.sql
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
    IF found <> 2 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 2',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs what is missing.';
    END IF;
END
$$;

CREATE FUNCTION sessions_keep_listed_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.listed_at := NEW.updated_at;
    RETURN NEW;
END
$$;

-- -infinity stands for a place that the next version fills in.
ALTER TABLE sessions ADD COLUMN listed_at timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE sessions ALTER COLUMN listed_at SET DEFAULT statement_timestamp();
COMMENT ON COLUMN sessions.listed_at IS 'The place in lists by recency: updated_at, brought up to date at most once a minute.';

ALTER TABLE sessions ALTER COLUMN user_id SET (n_distinct = 10), ALTER COLUMN source SET (n_distinct = 10);
ALTER TABLE messages ALTER COLUMN session_id SET (n_distinct = -0.02), ALTER COLUMN session_id SET STATISTICS 1;

CREATE TRIGGER sessions_keep_listed_at BEFORE UPDATE ON sessions FOR EACH ROW
WHEN (
    new.updated_at <> old.updated_at
    AND new.listed_at = old.listed_at
    AND new.updated_at >= old.listed_at + interval '1 minute'
)
EXECUTE FUNCTION sessions_keep_listed_at();

COMMENT ON COLUMN sessions.updated_at IS 'The last message, removal, change of status or of metadata. Reads never move it. It falls only where it was more than an hour ahead of the clock.';
COMMENT ON COLUMN messages.created_at IS 'When it was stored; never before the message with the number below, unless the clock was set back by more than an hour.';
INSERT INTO dal_schema (version, usable_from) VALUES (3, 1);
