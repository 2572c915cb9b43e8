-- Version 3: sessions have a place in lists (listed_at), which moves at most once a minute.
--
-- Releases made for version 1 or 2 can still use the tables. They do not know listed_at, so a trigger sets it for
--   them, until dal schema upgrade --finish drops it.
-- Locks: sessions (reads and writes), until the commit, which follows at once: existing rows get the default without
--   being rewritten. 0002_removals.sql has the reason for the timeout.
-- Run it with the schema's name on the search_path, or use dal schema upgrade:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file 0003_listed_at.sql
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
    IF found <> 2 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 2',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs every missing file.';
    END IF;
END
$$;

CREATE FUNCTION sessions_keep_listed_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.listed_at := NEW.updated_at;
    RETURN NEW;
END
$$;

-- -infinity marks rows that the next migration fills.
ALTER TABLE sessions ADD COLUMN listed_at timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE sessions ALTER COLUMN listed_at SET DEFAULT statement_timestamp();
COMMENT ON COLUMN sessions.listed_at IS 'The place in lists by recency: updated_at, refreshed at most once a minute.';

ALTER TABLE sessions ALTER COLUMN user_id SET (n_distinct = 10), ALTER COLUMN source SET (n_distinct = 10);
ALTER TABLE messages ALTER COLUMN session_id SET (n_distinct = -0.02), ALTER COLUMN session_id SET STATISTICS 1;

CREATE TRIGGER sessions_keep_listed_at BEFORE UPDATE ON sessions FOR EACH ROW
WHEN (
    new.updated_at <> old.updated_at
    AND new.listed_at = old.listed_at
    AND new.updated_at >= old.listed_at + interval '1 minute'
)
EXECUTE FUNCTION sessions_keep_listed_at();

-- Comments as in schema.sql.
COMMENT ON TABLE sessions IS 'One row per conversation, created by its first message. The row is the lock for every change in the session.';
COMMENT ON COLUMN sessions.next_sequence IS 'The number of the next message. It never decreases, so a removed number is not used again.';
COMMENT ON COLUMN sessions.message_count IS 'The number of stored messages: next_sequence less the removed ones.';
COMMENT ON COLUMN sessions.archived_at IS 'When the session was archived; null before.';
COMMENT ON COLUMN sessions.session_id IS 'A ULID, or an id that the service chose, such as a chat''s key.';
COMMENT ON COLUMN sessions.status IS 'active, paused (a mark for the service; messages are still accepted) or archived (final: nothing can be appended or removed).';
COMMENT ON COLUMN sessions.source IS 'The origin of the session, such as telegram.';
COMMENT ON COLUMN sessions.user_id IS 'The user whose session it is.';
COMMENT ON COLUMN sessions.parent_id IS 'The session that this one continues; it may have been deleted since.';
COMMENT ON COLUMN sessions.agent_ids IS 'The agents in order of first appearance; null until the first read after the session was archived caches them here.';
COMMENT ON COLUMN sessions.metadata IS 'Anything that the service keeps with the session; an object.';
COMMENT ON TABLE messages IS 'One row per message, numbered within its session.';
COMMENT ON COLUMN messages.message_id IS 'A ULID, or an id that the service chose. A message that is sent again with the same id is stored once.';
COMMENT ON COLUMN messages.role IS 'The role of the speaker: user, assistant, tool or any other.';
COMMENT ON COLUMN messages.agent_id IS 'The agent that speaks; null if none does.';
COMMENT ON COLUMN messages.content IS 'The text of the message.';
COMMENT ON COLUMN messages.metadata IS 'Anything that the service keeps with the message; an object.';
COMMENT ON COLUMN sessions.updated_at IS 'The time of the last message, removal, or change of status or metadata; reads do not change it. It only decreases if it was more than an hour ahead of the clock.';
COMMENT ON COLUMN messages.created_at IS 'When the message was stored. Never earlier than the previous message, unless the clock was set back by more than an hour.';
INSERT INTO dal_schema (version, usable_from) VALUES (3, 1);
