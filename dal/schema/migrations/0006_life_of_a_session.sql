-- Version 6: deleted sessions leave a row, removed messages are kept, and changes are counted and recorded.
--
-- Releases made for versions 1 to 5 can still use the tables. They would append to trashed and deleted sessions, and
--   archive deleted ones, so a trigger refuses that, until dal schema upgrade --finish drops it, with the table removals,
--   which only they use. They delete the row of a session, and leave none.
-- Locks: sessions (reads and writes), until the commit, which follows at once: existing rows get the defaults without
--   being rewritten. 0002_removals.sql has the reason for the timeout.
-- Run it with the schema's name on the search_path, or use dal schema upgrade:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file 0006_life_of_a_session.sql
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
    IF found <> 5 THEN
        RAISE EXCEPTION 'schema "%" holds version % of session-dal''s tables, and this file upgrades version 5',
            current_schema(), found
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Run dal schema upgrade, which runs every missing file.';
    END IF;
END
$$;

CREATE TABLE removed_messages (
    sequence bigint NOT NULL,
    created_at timestamptz NOT NULL,
    removed_at timestamptz NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C",
    content text NOT NULL,
    metadata jsonb NOT NULL,

    CONSTRAINT removed_messages_pkey PRIMARY KEY (session_id, sequence)
);

CREATE INDEX removed_messages_by_age ON removed_messages (removed_at);

CREATE TABLE changes (
    revision bigint NOT NULL,
    first_sequence bigint,
    last_sequence bigint,
    messages bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    change_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,

    CONSTRAINT changes_pkey PRIMARY KEY (session_id, change_id),
    CONSTRAINT changes_ids_fit CHECK (length(change_id) BETWEEN 1 AND 255 AND length(kind) BETWEEN 1 AND 255),
    CONSTRAINT changes_are_counted CHECK (
        revision > 0 AND messages >= 0 AND first_sequence BETWEEN 0 AND last_sequence
    )
);

COMMENT ON TABLE removed_messages IS 'Messages that were removed from their sessions, until purge() deletes them.';
COMMENT ON COLUMN removed_messages.sequence IS 'The message''s number in its session; it is not used again.';
COMMENT ON COLUMN removed_messages.created_at IS 'When the message was stored.';
COMMENT ON COLUMN removed_messages.removed_at IS 'When it was removed.';
COMMENT ON COLUMN removed_messages.session_id IS 'The session.';
COMMENT ON COLUMN removed_messages.message_id IS 'As in messages.';
COMMENT ON COLUMN removed_messages.role IS 'As in messages.';
COMMENT ON COLUMN removed_messages.agent_id IS 'As in messages.';
COMMENT ON COLUMN removed_messages.content IS 'As in messages.';
COMMENT ON COLUMN removed_messages.metadata IS 'As in messages.';
COMMENT ON TABLE changes IS 'One row per change of a session that is not an append, for about an hour.';
COMMENT ON COLUMN changes.revision IS 'The session''s revision after the change.';
COMMENT ON COLUMN changes.first_sequence IS 'The number of the first message that it changed; null if it changed none.';
COMMENT ON COLUMN changes.last_sequence IS 'The number of the last message that it changed; null if it changed none.';
COMMENT ON COLUMN changes.messages IS 'How many messages it changed.';
COMMENT ON COLUMN changes.changed_at IS 'When the change was made.';
COMMENT ON COLUMN changes.session_id IS 'The session.';
COMMENT ON COLUMN changes.change_id IS 'A ULID that identifies the change, so that it is not made twice.';
COMMENT ON COLUMN changes.kind IS 'What it was: remove, replace, annotate, redact, metadata, pause, resume, archive, trash or restore.';

CREATE FUNCTION sessions_stay_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'session "%" is %, and this release of session-dal is too old to change it', old.session_id, old.status
    USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'A newer release trashed or deleted it.';
END
$$;

-- From here on, sessions is locked.
ALTER TABLE sessions ADD COLUMN revision bigint NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN fork_point bigint;
ALTER TABLE sessions ADD COLUMN trashed_from text COLLATE "C";
ALTER TABLE sessions ALTER COLUMN status SET (n_distinct = 2), ALTER COLUMN parent_id SET (n_distinct = 10);
COMMENT ON COLUMN sessions.revision IS 'How many times the session was changed by something else than an append.';
COMMENT ON COLUMN sessions.fork_point IS 'If the session is a fork: it has its parent''s messages before this number.';
COMMENT ON COLUMN sessions.trashed_from IS 'The status that a trashed session had, and that restore() brings back.';
COMMENT ON COLUMN sessions.created_at IS 'When the session was stored, in general with its first message.';
COMMENT ON COLUMN sessions.status IS 'active, paused (a mark for the service; messages are still accepted) or archived (final: nothing can be appended or removed); trashed (out of all lists, until it is restored or deleted); deleted (only this row is left).';

-- The next migration validates these. Until then they hold for new rows. The dropped ones are replaced in the same
-- transaction by wider ones.
-- squawk-ignore ban-drop-constraint
ALTER TABLE sessions DROP CONSTRAINT sessions_status_is_known;
ALTER TABLE sessions ADD CONSTRAINT sessions_status_is_known
CHECK (status IN ('active', 'paused', 'archived', 'trashed', 'deleted')) NOT VALID;
ALTER TABLE sessions ADD CONSTRAINT sessions_trashed_has_its_origin
CHECK ((status = 'trashed') = (trashed_from IS NOT NULL)) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE sessions DROP CONSTRAINT sessions_archived_has_its_time;
ALTER TABLE sessions ADD CONSTRAINT sessions_archived_has_its_time
CHECK (
    (coalesce(trashed_from, status) = 'archived') = (archived_at IS NOT NULL)
) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE sessions DROP CONSTRAINT sessions_only_archived_caches;
ALTER TABLE sessions ADD CONSTRAINT sessions_only_archived_caches
CHECK (agent_ids IS NULL OR archived_at IS NOT NULL) NOT VALID;

-- Newer releases count each such change in revision.
CREATE TRIGGER sessions_stay_deleted BEFORE UPDATE ON sessions FOR EACH ROW
WHEN (
    old.status IN ('trashed', 'deleted')
    AND new.revision = old.revision
    AND (
        new.next_sequence <> old.next_sequence
        OR new.message_count <> old.message_count
        OR new.status <> old.status
        OR new.metadata <> old.metadata
    )
)
EXECUTE FUNCTION sessions_stay_deleted();

-- The tables are empty, so there is nothing to validate.
ALTER TABLE removed_messages ADD CONSTRAINT removed_messages_session_id_fkey
FOREIGN KEY (session_id) REFERENCES sessions (session_id) ON DELETE CASCADE;

ALTER TABLE changes ADD CONSTRAINT changes_session_id_fkey
FOREIGN KEY (session_id) REFERENCES sessions (session_id) ON DELETE CASCADE;

INSERT INTO dal_schema (version, usable_from)
SELECT
    6 AS version,
    s.usable_from
FROM dal_schema AS s
WHERE s.version = 5;
